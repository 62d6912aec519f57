// Runs the native test programs that scripts/build-native.mjs --tests built: each test/native/*_test.cc as it is, and most once more under sanitizers
// (test/native/sanitized.cmake). Two at a time, the longest first.
//   node scripts/test-native.mjs [NAME…]   only these: `golden_test` (each way that it was built), `./golden_test` (as it is) or `sanitized/golden_test`
import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { inRoot, nativeTests, root } from './paths.mjs';

/** What a program of each folder runs under. */
const environments = {
  '': {},
  sanitized: {
    NVLM_SANITIZE: '1',
    NVLM_SANITIZED_EMULATOR: path.join(nativeTests, 'sanitized', 'nvlm_emulator_sanitized.so'),
    ASAN_OPTIONS: 'detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1',
    UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
  },
  threads: { TSAN_OPTIONS: 'halt_on_error=1' },
};

/** Those that take longest; the order of all others is nobody's business. */
const longest = [
  ...['cuda_golden_test', 'sanitized/golden_test', 'cuda_steps_test', 'sanitized/engine_golden_test'],
  ...['sanitized/engine_cancel_test', 'cuda_ops_test', 'sanitized/cuda_failures_test', 'cuda_failures_test'],
  ...['sanitized/ops_test', 'engine_cancel_test', 'engine_golden_test', 'sanitized/engine_text_test'],
  ...['sanitized/cuda_ops_test', 'cuda_sample_test', 'cuda_cut_tiles_test', 'cuda_plan_test'],
];
/** A program that hangs is to be seen; no idle machine is asked for. */
const limitMs = 20 * 60_000;

const names = fs
  .readdirSync(inRoot('test', 'native'))
  .filter(file => file.endsWith('_test.cc'))
  .map(file => path.basename(file, '.cc'));
const built = name => fs.existsSync(path.join(nativeTests, name));
const all = Object.keys(environments).flatMap(folder =>
  // Every test is built as it is; in the other folders stand those that make sense there.
  names.map(name => path.posix.join(folder, name)).filter(name => folder === '' || built(name)),
);
const wanted = process.argv.slice(2);
const programs = all.filter(
  name =>
    wanted.length === 0 ||
    wanted.includes(path.posix.basename(name)) ||
    wanted.includes(name.includes('/') ? name : `./${name}`),
);
if (programs.length === 0) {
  console.error(
    `test-native: no native test is called ${wanted.join(', ')}; they are the files test/native/*_test.cc.`,
  );
  process.exit(2);
}
const rank = name => (longest.includes(name) ? longest.indexOf(name) : longest.length);
const queue = programs.toSorted((a, b) => rank(a) - rank(b));

let passed = 0;
let failed = 0;
await Promise.all(
  Array.from({ length: Math.min(2, os.availableParallelism()) }, async () => {
    for (let name = queue.shift(); name !== undefined; name = queue.shift()) await check(name);
  }),
);
console.log(`${passed} passed, ${failed} failed`);
if (failed > 0) process.exitCode = 1;

async function check(name) {
  const started = performance.now();
  const { status, output } = built(name)
    ? await run(name)
    : { status: 'it was not built; run npm run build:native', output: '' };
  // A program that checks nothing is a program that found nothing to run.
  const ok = status === 0 && /^[1-9]\d* passed, 0 failed$/m.test(output);
  if (ok) passed += 1;
  else failed += 1;
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  if (!ok) console.log(`${output}${name} ended with ${status}`);
}

function run(name) {
  const folder = path.posix.dirname(name) === '.' ? '' : path.posix.dirname(name);
  return new Promise(resolve => {
    let output = '';
    const child = spawn(path.join(nativeTests, name), [], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: limitMs,
      killSignal: 'SIGKILL',
      env: { ...process.env, ...environments[folder] },
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', bytes => {
        output += bytes;
      });
    }
    child.on('error', error => resolve({ status: error.message, output }));
    child.on('close', (code, signal) => resolve({ status: signal ?? code, output }));
  });
}
