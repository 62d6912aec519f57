// Builds the native tests with AddressSanitizer and UndefinedBehaviorSanitizer and runs every one of them.
//   node scripts/sanitize.mjs [--build-only] [NAME…]
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { inRoot, root, sanitizeTree } from './paths.mjs';

const args = process.argv.slice(2);
const wanted = args.filter(arg => !arg.startsWith('--'));
const programs = fs
  .readdirSync(inRoot('test', 'native'))
  .filter(file => file.endsWith('_test.cc'))
  .map(file => path.basename(file, '.cc'))
  // What they look at needs the hooks of another sanitizer.
  .filter(name => !['emulator_test', 'cuda_traffic_test'].includes(name))
  .filter(name => wanted.length === 0 || wanted.includes(name));
if (programs.length === 0)
  fail(`no native test is called ${wanted.join(', ')}; they are the files test/native/*_test.cc.`);

const hasNinja = spawnSync('ninja', ['--version']).status === 0;
run('cmake', [
  ...['-S', root, '-B', sanitizeTree],
  ...(hasNinja ? ['-G', 'Ninja'] : []),
  '-DNVLM_BUILD_ADDON=OFF',
  '-DNVLM_BUILD_TESTS=ON',
  '-DNVLM_CUDA=off', // its sources are tested over the emulator
  '-DNVLM_SANITIZE=ON',
  // -O1 keeps the kernels fast enough to test at all, line tables are what a report needs.
  '-DCMAKE_BUILD_TYPE=None',
  '-DCMAKE_CXX_FLAGS=-O1 -g1',
]);
run('cmake', ['--build', sanitizeTree, '--parallel', '2']);
if (args.includes('--build-only')) process.exit(0);

const failed = [];
const waiting = [...programs];
await Promise.all(
  Array.from({ length: Math.min(2, os.availableParallelism()) }, async () => {
    for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) await check(name);
  }),
);
console.log(`sanitizers: ${programs.length - failed.length} programs passed, ${failed.length} failed`);
if (failed.length > 0) process.exitCode = 1;

async function check(name) {
  const started = performance.now();
  let output = '';
  const status = await new Promise(resolve => {
    const child = spawn(path.join(sanitizeTree, 'test', 'native', name), [], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: {
        ...process.env,
        NVLM_SANITIZE: '1',
        // The emulator's threads are thousands of stacks, each of which would get a second one.
        ASAN_OPTIONS: `detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=${name.startsWith('cuda_') ? 0 : 1}:allocator_may_return_null=1`,
        UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
      },
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', bytes => {
        output += bytes;
      });
    }
    child.on('error', error => resolve(error.message));
    child.on('close', (code, signal) => resolve(signal ?? code));
  });
  const ok = status === 0;
  if (!ok) failed.push(name);
  console.log(`${ok ? 'ok    ' : 'FAILED'} ${name} (${((performance.now() - started) / 1000).toFixed(1)} s)`);
  if (!ok) console.log(`${output}ended with ${status}`);
}

function run(command, commandArgs) {
  const result = spawnSync(command, commandArgs, { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 });
  if (result.status === 0) return;
  console.error(`${result.stdout ?? ''}${result.stderr ?? ''}`);
  fail(`${command} ${commandArgs.join(' ')} failed; the lines above say where.`);
}

function fail(message) {
  console.error(`sanitize: ${message}`);
  process.exit(1);
}
