// Every check of the repository, one after the other; all run even when one fails. Ends with one line that counts them.
//   node scripts/test.mjs [STEP…]   only these steps
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
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

const wanted = process.argv.slice(2);
for (const name of wanted) {
  if (steps[name]) continue;
  console.error(`test: no step is called ${name}; there are ${Object.keys(steps).join(', ')}.`);
  process.exit(2);
}

let passed = 0;
let failed = 0;
const lines = [];
fs.mkdirSync(inRoot('out'), { recursive: true });
for (const [name, [command, args]] of Object.entries(steps)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  console.log(`\n--- ${name}`);
  const started = performance.now();
  fs.rmSync(reportOf(name), { force: true });
  // jest's JSON goes to its file; its own report and everybody else's words go to this output.
  const ok = spawnSync(command, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] }).status === 0;
  const seconds = (performance.now() - started) / 1000;
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
  lines.push(`${ok ? 'ok    ' : 'FAILED'} ${name} (${seconds.toFixed(0)} s${count})`);
}
console.log(`\n${lines.join('\n')}\n\n${passed} passed, ${failed} failed`);
if (failed > 0 || passed === 0) process.exitCode = 1;
