// Runs every native test program: each test/native/*_test.cc must have been built, and must exit with 0.
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';

const root = join(__dirname, '..');
const built = join(root, 'out', 'release', 'test', 'native');
const programs = readdirSync(join(__dirname, 'native'))
  .filter(file => file.endsWith('_test.cc'))
  .map(file => basename(file, '.cc'));

test.each(programs)(
  'native/%s passes',
  async program => {
    const { code, output } = await run(join(built, program));
    if (code !== 0) throw new Error(`${program} ended with ${code}\n${output}`);
    // A program that checks nothing is a program that found nothing to run.
    expect(output).toMatch(/^[1-9]\d* passed, 0 failed$/m);
  },
  240_000,
);

function run(file: string): Promise<{ code: number | string; output: string }> {
  return new Promise(resolve => {
    execFile(file, [], { cwd: root, maxBuffer: 1 << 28 }, (error, stdout, stderr) => {
      resolve({
        code: error === null ? 0 : (error.code ?? error.signal ?? 'an unknown error'),
        output: stdout + stderr,
      });
    });
  });
}
