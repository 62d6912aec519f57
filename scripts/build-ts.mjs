// lib/ -> dist/: one CommonJS build, and an ES module entry that re-exports it (two full builds would load the addon's state twice).
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { inRoot, root } from './paths.mjs';

const require = createRequire(import.meta.url);
const fresh = inRoot('out', 'dist-new');
const dist = inRoot('dist');

fs.rmSync(fresh, { recursive: true, force: true });
const tsc = path.join(path.dirname(require.resolve('typescript/package.json')), 'bin', 'tsc');
const compiled = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.json', '--outDir', fresh, '--noEmitOnError'], {
  cwd: root,
  stdio: 'inherit',
});
if (compiled.status !== 0) {
  console.error('nvlm: TypeScript did not compile; dist/ is left as it was.');
  process.exit(1);
}

const command = path.join(fresh, 'cli', 'main.js');
if (fs.existsSync(command)) fs.chmodSync(command, 0o755);

// Swapped in at the end, so that dist/ is never half written.
fs.rmSync(`${dist}.old`, { recursive: true, force: true });
if (fs.existsSync(dist)) fs.renameSync(dist, `${dist}.old`);
fs.renameSync(fresh, dist);
fs.rmSync(`${dist}.old`, { recursive: true, force: true });

const names = Object.keys(require(path.join(dist, 'index.js'))).filter(
  name => name !== 'default' && name !== '__esModule',
);
fs.writeFileSync(
  path.join(dist, 'index.mjs'),
  `// Generated: the ES module face of index.js.\nimport nvlm from './index.js';\n\nexport const { ${names.toSorted().join(', ')} } = nvlm;\n`,
);
fs.writeFileSync(
  path.join(dist, 'index.d.mts'),
  "// Generated: the types of index.mjs.\nexport * from './index.js';\n",
);
