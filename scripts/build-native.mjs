// Builds the addon through cmake-js, and with --tests the native test programs as well.
//   node scripts/build-native.mjs [--tests]       development: tree in out/release, addon in build/Release
//   node scripts/build-native.mjs --into FOLDER   what binding.gyp calls when npm builds from source: the tree is removed afterwards
//   node scripts/build-native.mjs --inputs        prints the files the addon is built from, for binding.gyp
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { addonFile, inRoot, releaseTree, root } from './paths.mjs';

const require = createRequire(import.meta.url);
const args = process.argv.slice(2);
const into = args.includes('--into') ? path.resolve(args[args.indexOf('--into') + 1]) : null;
const tests = args.includes('--tests');
const tree = into ? inRoot('out', 'from-source') : releaseTree;
const target = into ? path.join(into, 'nvlm.node') : addonFile;

if (args.includes('--inputs')) {
  const sources = fs.readdirSync(inRoot('native'), { recursive: true }).filter(file => /\.(h|hpp|cc|txt|map)$/.test(file));
  console.log(['CMakeLists.txt', ...sources.map(file => `native/${file.replaceAll('\\', '/')}`)].join('\n'));
  process.exit(0);
}

if (spawnSync('cmake', ['--version']).error) {
  fail('cmake was not found. Install CMake 3.18 or newer and a C++20 compiler (Debian, Ubuntu: apt-get install g++ cmake ninja-build).');
}

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
    ],
    { cwd: root, stdio: 'inherit' },
  );
  if (done.status === 0) continue;
  fail(
    'the native build failed; the lines above say where. It needs CMake 3.18 or newer and a C++20 compiler (g++ 11 or newer, clang 14 or newer).',
  );
}

// A running process may have the old addon mapped: replace the file, never write into it.
fs.mkdirSync(path.dirname(target), { recursive: true });
fs.copyFileSync(path.join(tree, 'Release', 'nvlm.node'), `${target}.new`);
fs.renameSync(`${target}.new`, target);
if (into) fs.rmSync(tree, { recursive: true, force: true });

function fail(message) {
  console.error(`nvlm: ${message}`);
  process.exit(1);
}
