// Everything between a fresh clone and a working build, each step only when it is needed: system packages, npm packages, the native
// build, TypeScript. Needs nothing but Node. `--for-tests` also sees to what only the tests need.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { addonFile, inRoot, nativeTests, releaseTree, root, stampFolder } from './paths.mjs';

const forTests = process.argv.includes('--for-tests');

const major = Number(process.versions.node.split('.')[0]);
if (major < 20) fail(`Node ${process.versions.node} is too old; install Node 20 or newer.`);

installSystemTools();

step('npm packages', 'npm', [inRoot('package-lock.json')], [inRoot('node_modules')], () => {
  // Install scripts are left out: the addon is built below, and no dependency needs its own.
  run(
    'npm',
    ['ci', '--ignore-scripts', '--no-audit', '--no-fund'],
    'npm ci failed; check that the npm registry can be reached, then run the command again.',
  );
});

const nativeSources = [
  inRoot('CMakeLists.txt'),
  inRoot('package.json'),
  inRoot('scripts', 'build-native.mjs'),
  ...filesUnder(inRoot('native')),
];
const nativeFix = 'the native build failed; the compiler output above says where.';
if (forTests) {
  const withTests = [
    ...nativeSources,
    ...filesUnder(inRoot('test', 'native')),
    ...filesUnder(inRoot('benchmarks', 'gpu')),
  ];
  const results = [
    addonFile,
    path.join(nativeTests, 'ops_test'),
    path.join(nativeTests, 'sanitized', 'ops_test'),
    path.join(releaseTree, 'Release', 'nvlm_emulator.so'),
  ];
  step('native build with its tests (the first takes a few minutes)', 'native-tests', withTests, results, () => {
    run(process.execPath, ['scripts/build-native.mjs', '--tests'], nativeFix);
    markDone('native', nativeSources);
  });
} else {
  step('native build (the first takes a minute or two)', 'native', nativeSources, [addonFile], () => {
    run(process.execPath, ['scripts/build-native.mjs'], nativeFix);
  });
}

const typescriptSources = [inRoot('tsconfig.json'), inRoot('scripts', 'build-ts.mjs'), ...filesUnder(inRoot('lib'))];
step('TypeScript build', 'typescript', typescriptSources, [inRoot('dist', 'index.mjs')], () => {
  run(process.execPath, ['scripts/build-ts.mjs'], 'the TypeScript build failed; the lines above say where.');
});

/** Runs `work` unless every result exists and the inputs are those of the last success. */
function step(title, name, inputs, results, work) {
  const stampFile = path.join(stampFolder, name);
  const stamp = digest(inputs);
  const done =
    results.every(file => fs.existsSync(file)) &&
    fs.existsSync(stampFile) &&
    fs.readFileSync(stampFile, 'utf8') === stamp;
  if (done) return;
  console.error(`setup: ${title}`);
  work();
  markDone(name, inputs);
}

function markDone(name, inputs) {
  fs.mkdirSync(stampFolder, { recursive: true });
  fs.writeFileSync(path.join(stampFolder, name), digest(inputs));
}

/** By content, not by time: a checkout that touches every file builds nothing. */
function digest(files) {
  // Whether and how the CUDA library is built hangs on these too.
  const cuda = `${has('nvcc')} ${process.env.NVLM_CUDA} ${process.env.NVLM_CUDA_ARCHS}`;
  const hash = createHash('sha256').update(process.version).update(process.arch).update(cuda);
  for (const file of files.toSorted())
    hash.update(path.relative(root, file)).update('\0').update(fs.readFileSync(file)).update('\0');
  return hash.digest('hex');
}

function filesUnder(folder) {
  if (!fs.existsSync(folder)) return [];
  return fs
    .readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter(entry => entry.isFile())
    .map(entry => path.join(entry.parentPath ?? entry.path, entry.name));
}

function installSystemTools() {
  const wanted = [
    { found: () => has('g++') || has('clang++') || Boolean(process.env.CXX), package: 'g++' },
    { found: () => has('cmake'), package: 'cmake' },
    { found: () => has('ninja') || has('make'), package: 'ninja-build' },
  ];
  // node-gyp, whose source fallback the packaging tests run, needs Python and make.
  if (forTests)
    wanted.push({ found: () => has('python3'), package: 'python3' }, { found: () => has('make'), package: 'make' });

  const missing = () => wanted.filter(tool => !tool.found()).map(tool => tool.package);
  const packages = missing();
  if (process.platform !== 'linux') {
    if (packages.length > 0)
      fail(
        `missing: ${packages.join(', ')}. Install a C++20 compiler, CMake 3.18 or newer and Ninja, then run the command again.`,
      );
    return;
  }
  if (packages.length === 0) return;

  const fix = `apt-get install ${packages.join(' ')}`;
  const isRoot = process.getuid() === 0;
  if (!has('apt-get'))
    fail(
      `missing: ${packages.join(', ')}, and this system has no apt-get. Install them with its package manager, then run the command again.`,
    );
  if (!isRoot && !has('sudo'))
    fail(`missing: ${packages.join(', ')}, and this user may not install them. Run as root: ${fix}`);

  console.error(`setup: system packages ${packages.join(', ')}`);
  const sudo = process.stdin.isTTY ? ['sudo'] : ['sudo', '-n'];
  const apt = (...args) => {
    const [command, ...rest] = [...(isRoot ? [] : sudo), 'env', 'DEBIAN_FRONTEND=noninteractive', 'apt-get', ...args];
    return spawnSync(command, rest, { stdio: ['inherit', 'ignore', 'inherit'] }).status === 0;
  };
  // A stale list is the usual reason for a failing install; one that cannot be renewed may still do.
  apt('update', '-qq');
  apt('install', '-y', '-qq', '--no-install-recommends', ...packages);
  const left = missing();
  if (left.length > 0) fail(`could not install ${left.join(', ')}. Run as root: ${fix}`);
}

function has(command) {
  return (process.env.PATH ?? '').split(path.delimiter).some(folder => {
    try {
      fs.accessSync(path.join(folder, command), fs.constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

function run(command, args, fix) {
  try {
    execFileSync(command, args, { cwd: root, stdio: ['inherit', 2, 2] });
  } catch {
    fail(fix);
  }
}

function fail(message) {
  console.error(`setup: ${message}`);
  process.exit(1);
}
