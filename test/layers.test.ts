import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { root } from './support/models';
import { runNode } from './support/run';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nvlm-layers-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** What the check says of a tree of these files. */
async function check(files: Record<string, string>): Promise<{ code: number | null; said: string }> {
  for (const [name, text] of Object.entries({ 'lib/index.ts': '', 'native/ops/ops.h': '', ...files })) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), text);
  }
  const { code, stdout, stderr } = await runNode([join(root, 'scripts', 'check-layers.mjs'), folder]);
  return { code, said: stdout + stderr };
}

test('imports and includes that point down pass', async () => {
  const { code, said } = await check({
    'lib/errors.ts': '',
    'lib/model/load.ts': `import {\n  a,\n  b,\n} from '../errors.js';\nimport { c } from './model.js';`,
    'lib/model/model.ts': '',
    'native/model/model.h': '#include <vector>\n#include "ops/ops.h"',
    'native/cuda/cut_tiles.h': '#include "image/resample.h"',
  });
  expect([code, said]).toEqual([0, 'layers: ok\n']);
});

test.each([
  [
    'an import that points up',
    'lib/image/source.ts',
    `\nimport { load } from '../model/load.js';`,
    'source.ts:2 imports',
  ],
  ['that of a type', 'lib/errors.ts', `import type { A } from './engine/native-types.js';`, 'errors.ts:1 imports'],
  ['one within a type', 'lib/types/input.ts', `type A = import('../model/model.js').Model;`, 'input.ts:1 imports'],
  ['a require', 'lib/engine/native.ts', `const a = require('../model/load.js');`, 'native.ts:1 imports'],
  ['an export of what stands above', 'lib/checks.ts', `export { a } from './index.js';`, 'checks.ts:1 imports'],
  ['an architecture by name', 'lib/model/load.ts', `\nif (name === 'NVLM-H') stop();`, 'load.ts:2 names'],
  ['a folder without a row', 'lib/utils/all.ts', '', 'utils has no line'],
  ['an include that points up', 'native/model/fit.cc', '#include "engine/engine.h"', 'fit.cc:1 includes'],
  ['one that points sideways', 'native/cpu/backend.cc', '#include "image/cut_tiles.h"', 'backend.cc:1 includes'],
  ['CUDA outside its folder', 'native/model/fit.cc', '\n#include <cuda_runtime.h>', 'fit.cc:2 includes'],
  ['more of image than cuda/ may know', 'native/cuda/op.h', '#include "image/cut_tiles.h"', 'op.h:1 includes'],
])('%s is found', async (_, name, text, finding) => {
  const { code, said } = await check({ [name]: text });
  expect([code, said]).toEqual([1, expect.stringContaining(finding)]);
});

test('files that form a circle are found within a folder too', async () => {
  const imports = await check({
    'lib/model/a.ts': `import type { B } from './b.js';`,
    'lib/model/b.ts': `export * from './c.js';`,
    'lib/model/c.ts': `import { a } from './a.js';`,
  });
  expect([imports.code, imports.said]).toEqual([
    1,
    expect.stringContaining('model/a.ts -> model/b.ts -> model/c.ts -> model/a.ts form a circle'),
  ]);
  const includes = await check({
    'native/model/a.h': '#include "model/b.h"',
    'native/model/b.h': '#include "model/a.h"',
  });
  expect(includes.said).toContain('model/a.h -> model/b.h -> model/a.h form a circle');
});
