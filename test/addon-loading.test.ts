import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './support/models';
import { runNode } from './support/run';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'nvlm-addon-'));
  cpSync(join(root, 'dist'), join(folder, 'dist'), { recursive: true });
  cpSync(join(root, 'package.json'), join(folder, 'package.json'));
  symlinkSync(join(root, 'models'), join(folder, 'models'));
  symlinkSync(join(root, 'node_modules'), join(folder, 'node_modules'));
});
afterEach(() => rmSync(folder, { recursive: true }));

/** What `devices()` of the copied package rejects with. */
async function failure(): Promise<{ code: string; message: string }> {
  const program = `require(${JSON.stringify(folder)}).devices().catch(({ code, message }) => console.log(JSON.stringify({ code, message })));`;
  return JSON.parse((await runNode(['-e', program])).stdout) as { code: string; message: string };
}

test('without an addon the error says what was tried and what to do', async () => {
  const { code, message } = await failure();
  expect(code).toBe('addon-not-found');
  expect(message).toContain(join(folder, 'build', 'Release'));
  expect(message).toContain(join(folder, 'prebuilds', `${process.platform}-${process.arch}`));
  expect(message).toContain('npm rebuild nvlm');
});

test('a package without an addon can be required, and its pure parts work', async () => {
  const { stdout } = await runNode(['-e', `console.log(require(${JSON.stringify(folder)}).bundledModels().length)`]);
  expect(stdout).toBe('3\n');
});

test('an addon that is damaged is reported with what the system said', async () => {
  mkdirSync(join(folder, 'build', 'Release'), { recursive: true });
  writeFileSync(join(folder, 'build', 'Release', 'nvlm.node'), 'not a library');
  const { code, message } = await failure();
  expect(code).toBe('addon-not-found');
  expect(message).toMatch(/nvlm\.node.*(too short|invalid|not a)/i);
});
