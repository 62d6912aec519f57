// publint and attw (are the types wrong?) over the package as npm would pack it.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { inRoot, root } from './paths.mjs';

const folder = inRoot('out', 'pack');
fs.rmSync(folder, { recursive: true, force: true });
fs.mkdirSync(folder, { recursive: true });

const packed = spawnSync('npm', ['pack', '--ignore-scripts', '--silent', '--pack-destination', folder], {
  cwd: root,
  encoding: 'utf8',
});
if (packed.status !== 0) {
  console.error(packed.stdout + packed.stderr);
  process.exit(1);
}
const tarball = path.join(folder, fs.readdirSync(folder)[0]);

const checks = [
  ['publint', bin('publint'), ['run', tarball, '--strict']],
  ['attw', bin('@arethetypeswrong/cli', 'attw'), [tarball, '--no-color', '--no-emoji']],
];
let failed = 0;
for (const [name, file, args] of checks) {
  const result = spawnSync(process.execPath, [file, ...args], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, NO_COLOR: '1' },
  });
  console.log(`${name}: ${result.status === 0 ? 'ok' : `FAILED\n${result.stdout}${result.stderr}`}`);
  if (result.status !== 0) failed += 1;
}
fs.rmSync(folder, { recursive: true, force: true });
if (failed > 0) process.exitCode = 1;

/** File of a package's command. */
function bin(name, command = name) {
  const manifest = inRoot('node_modules', ...name.split('/'), 'package.json');
  const { bin: entry } = JSON.parse(fs.readFileSync(manifest, 'utf8'));
  return path.join(path.dirname(manifest), typeof entry === 'string' ? entry : entry[command]);
}
