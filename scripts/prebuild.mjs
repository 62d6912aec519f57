// Fills prebuilds/<platform>-<arch>/ through prebuildify. prebuildify knows node-gyp only and moves the addon out of build/Release, so it
// works in a folder of its own and `node-gyp rebuild` is answered by this very script (called with `rebuild`): it builds through
// cmake-js, in the development tree, where usually nothing is left to do.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { addonFile, cudaFile, inRoot, releaseTree, root } from './paths.mjs';

const require = createRequire(import.meta.url);
const self = fileURLToPath(import.meta.url);

if (process.argv[2] === 'rebuild') answerNodeGyp();
else prebuild();

function prebuild() {
  const stage = inRoot('out', 'prebuild');
  fs.rmSync(stage, { recursive: true, force: true });
  fs.mkdirSync(stage, { recursive: true });
  fs.copyFileSync(inRoot('package.json'), path.join(stage, 'package.json'));
  const shim = path.join(stage, 'node-gyp.sh');
  fs.writeFileSync(shim, `#!/bin/sh\nexec "${process.execPath}" "${self}" "$@"\n`, { mode: 0o755 });

  const target = inRoot('prebuilds', `${process.platform}-${process.arch}`);
  fs.rmSync(target, { recursive: true, force: true });
  const prebuildify = path.join(path.dirname(require.resolve('prebuildify/package.json')), 'bin.js');
  const args = [
    prebuildify,
    '--napi',
    '--strip',
    '-t',
    process.versions.node,
    '--cwd',
    stage,
    '--out',
    root,
    '--node-gyp',
    shim,
  ];
  const done = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  if (done.status !== 0) process.exit(done.status ?? 1);
  // prebuildify takes the addon alone; the CUDA library stands beside it, where there is one.
  if (fs.existsSync(cudaFile)) {
    fs.copyFileSync(cudaFile, path.join(target, path.basename(cudaFile)));
  } else if (process.env.NVLM_CUDA !== 'off' && spawnSync('nvcc', ['--version']).status === 0) {
    console.error(
      'nvlm: nvcc is here, but the CUDA library was not built. NVLM_CUDA=off leaves it out of the prebuild on purpose.',
    );
    process.exit(1);
  }
}

function answerNodeGyp() {
  // The development tree stays as it is configured, so that nothing in it is built anew.
  const tests = fs.existsSync(path.join(releaseTree, 'test')) ? ['--tests'] : [];
  const built = spawnSync(process.execPath, [inRoot('scripts', 'build-native.mjs'), ...tests], {
    cwd: root,
    stdio: 'inherit',
  });
  if (built.status !== 0) process.exit(built.status ?? 1);
  const release = path.join(process.cwd(), 'build', 'Release');
  fs.mkdirSync(release, { recursive: true });
  fs.copyFileSync(addonFile, path.join(release, 'nvlm.node'));
}
