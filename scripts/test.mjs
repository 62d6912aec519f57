// Every check of the repository, one after the other; all run even when one fails. Ends with one line that counts them.
//   node scripts/test.mjs [STEP…]             only these steps
//   node scripts/test.mjs --changed [COMMIT]  the short way: what a change since COMMIT (default: since it left main) needs first (scripts/changed.mjs)
// Set-up comes first (scripts/setup.mjs), unless steps are named.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { changedChecks } from './changed.mjs';
import { inRoot, root } from './paths.mjs';

/** Tests that measure time or memory: they have the machine to themselves, after the others. */
const measuring = 'event-loop|memory';
const npm = (...script) => ['npm', ['run', '--silent', ...script]];
const reportOf = name => inRoot('out', `${name}.json`);
const jest = (name, ...args) => npm('jest', '--', '--json', `--outputFile=${reportOf(name)}`, ...args);
const steps = {
  typecheck: npm('typecheck'),
  lint: npm('lint'),
  format: npm('format:check'),
  docs: npm('docs', '--', '--check'),
  layers: npm('check:layers'),
  symbols: npm('check:symbols'),
  package: npm('check:package'),
  kernels: npm('check:kernels'),
  native: npm('test:native'),
  jest: jest('jest', `--testPathIgnorePatterns=test/(${measuring})`),
  measure: jest('measure', '--runInBand', `--testPathPatterns=test/(${measuring})`),
};

const words = process.argv.slice(2);
const chosen = words[0] === '--changed' ? short(words[1]) : named(words);
let passed = 0;
let failed = 0;
const lines = [];
fs.mkdirSync(inRoot('out'), { recursive: true });
if (words.length === 0 || words[0] === '--changed') {
  const [ok, seconds] = run(process.execPath, ['scripts/setup.mjs', '--for-tests']);
  if (!ok) process.exit(1);
  lines.push(`       set-up (${seconds} s)`);
}
for (const [name, [command, args]] of Object.entries(chosen)) {
  console.log(`\n--- ${name}`);
  fs.rmSync(reportOf(name), { force: true });
  // jest's JSON goes to its file; its own report and everybody else's words go to this output.
  const [ok, seconds] = run(command, args);
  let count = '';
  if (args.includes('jest')) {
    const report = fs.existsSync(reportOf(name)) ? JSON.parse(fs.readFileSync(reportOf(name), 'utf8')) : null;
    const good = report?.numPassedTests ?? 0;
    // A run that failed without a failing test (a file that does not compile, a crash) counts as one.
    const bad = (report?.numFailedTests ?? 0) + (report?.numRuntimeErrorTestSuites ?? 0);
    passed += good;
    failed += ok ? bad : Math.max(1, bad);
    count = `, ${good} passed, ${bad} failed`;
  } else if (ok) {
    passed += 1;
  } else {
    failed += 1;
  }
  lines.push(`${ok ? 'ok    ' : 'FAILED'} ${name} (${seconds} s${count})`);
}
console.log(`\n${lines.join('\n')}\n\n${passed} passed, ${failed} failed`);
if (failed > 0 || passed === 0) process.exitCode = 1;

function run(command, args) {
  const started = performance.now();
  const ok = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] }).status === 0;
  return /** @type {const} */ ([ok, ((performance.now() - started) / 1000).toFixed(0)]);
}

function named(wanted) {
  for (const name of wanted) {
    if (steps[name]) continue;
    console.error(`test: no step is called ${name}; there are ${Object.keys(steps).join(', ')}.`);
    process.exit(2);
  }
  return Object.fromEntries(Object.entries(steps).filter(([name]) => wanted.length === 0 || wanted.includes(name)));
}

function short(reference) {
  const { files, steps: wanted, jest: tests, native } = changedChecks(reference);
  console.log(`${files.length} files changed`);
  const picked = Object.fromEntries(Object.entries(steps).filter(([name]) => wanted.has(name)));
  if (native.length > 0) picked.native = npm('test:native', '--', ...native);
  if (tests.length > 0) picked.jest = jest('jest', ...tests.map(name => `test/${name}.test.ts`));
  return picked;
}
