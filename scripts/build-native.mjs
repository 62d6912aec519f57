// Builds the addon through cmake-js, and with --tests the native test programs as well, plain and under sanitizers.
//   node scripts/build-native.mjs [--tests]       development: tree in out/release, addon in build/Release
//   node scripts/build-native.mjs --into FOLDER   what binding.gyp calls when npm builds from source: the tree is removed afterwards
//   node scripts/build-native.mjs --inputs        prints the files the addon is built from, for binding.gyp
// The CUDA library is built too where nvcc is found; NVLM_CUDA=off leaves it out, NVLM_CUDA_ARCHS="80 90" assembles it for these GPUs alone.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { addonFile, cudaFile, inRoot, releaseTree, root } from './paths.mjs';

const require = createRequire(import.meta.url);
const args = process.argv.slice(2);
const into = args.includes('--into') ? path.resolve(args[args.indexOf('--into') + 1]) : null;
const tests = args.includes('--tests');
const tree = into ? inRoot('out', 'from-source') : releaseTree;
const target = into ?? path.dirname(addonFile);

const cudaBuilt = path.join(tree, 'Release', path.basename(cudaFile));

if (args.includes('--inputs')) {
  const sources = fs
    .readdirSync(inRoot('native'), { recursive: true })
    .filter(file => /\.(h|hpp|cc|cu|cuh|txt|map)$/.test(file));
  console.log(['CMakeLists.txt', ...sources.map(file => `native/${file.replaceAll('\\', '/')}`)].join('\n'));
  process.exit(0);
}

if (spawnSync('cmake', ['--version']).error) {
  fail(
    'cmake was not found. Install CMake 3.18 or newer and a C++20 compiler (Debian, Ubuntu: apt-get install g++ cmake ninja-build).',
  );
}

// What an earlier configuration built must not pass for this one's.
if (process.env.NVLM_CUDA === 'off') fs.rmSync(cudaBuilt, { force: true });

// Configured every time: `cmake-js build` alone keeps the options of a tree that is there, and a first configuration that failed.
for (const command of ['configure', 'build']) {
  const done = spawnSync(
    process.execPath,
    [
      require.resolve('cmake-js/bin/cmake-js'),
      command,
      '--directory',
      root,
      '--out',
      tree,
      '--config',
      'Release',
      '--log-level',
      'error',
      `--CDNVLM_BUILD_TESTS=${tests ? 'ON' : 'OFF'}`,
      `--CDNVLM_SANITIZED=${tests ? 'ON' : 'OFF'}`,
      ...(tests ? [`--CDCMAKE_CUDA_COMPILER_LAUNCHER=${process.execPath};${inRoot('scripts', 'nvcc.mjs')}`] : []),
      `--CDNVLM_CUDA=${process.env.NVLM_CUDA || 'auto'}`,
      `--CDNVLM_CUDA_ARCHS=${(process.env.NVLM_CUDA_ARCHS ?? '').trim().replaceAll(/[\s,]+/g, ';')}`,
    ],
    { cwd: root, stdio: 'inherit' },
  );
  if (done.status === 0) continue;
  fail(
    'the native build failed; the lines above say where. It needs CMake 3.18 or newer and a C++20 compiler (g++ 11 or newer, clang 14 or newer).',
  );
}

put(path.join(tree, 'Release', path.basename(addonFile)));
if (fs.existsSync(cudaBuilt)) put(cudaBuilt);
else fs.rmSync(path.join(target, path.basename(cudaFile)), { force: true });
if (into) fs.rmSync(tree, { recursive: true, force: true });

/** Puts a built file into the target folder. A running process may have the old one mapped: it is replaced, never written into. */
function put(built) {
  const file = path.join(target, path.basename(built));
  fs.mkdirSync(target, { recursive: true });
  fs.copyFileSync(built, `${file}.new`);
  fs.renameSync(`${file}.new`, file);
}

function fail(message) {
  console.error(`nvlm: ${message}`);
  process.exit(1);
}
