// The table of `npm test -- --changed`: every file of the repository has a row, and every test and program that a row names is there.
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const root = join(__dirname, '..');
interface Checks {
  jest?: string[];
  native?: string[];
  steps?: string[];
}

function table(): { rows: Checks[]; without: string[] } {
  // An ES module, which jest does not load.
  const program = `
    import { checksOf, rows } from ${JSON.stringify(pathToFileURL(join(root, 'scripts', 'changed.mjs')).href)};
    import { execFileSync } from 'node:child_process';
    const files = execFileSync('git', ['ls-files'], { cwd: ${JSON.stringify(root)}, encoding: 'utf8' }).trim().split('\\n');
    console.log(JSON.stringify({ rows: rows.map(row => row[1]), without: files.filter(file => checksOf(file) === null) }));`;
  return JSON.parse(
    execFileSync(process.execPath, ['--input-type=module', '-e', program], { encoding: 'utf8' }),
  ) as ReturnType<typeof table>;
}

test('every file has a row', () => {
  expect(table().without).toEqual([]);
});

test('every name is that of a test, a program or a step', () => {
  const { rows } = table();
  const jest = rows.flatMap(row => row.jest ?? []);
  const native = rows.flatMap(row => row.native ?? []);
  expect(jest.filter(name => !existsSync(join(__dirname, `${name}.test.ts`)))).toEqual([]);
  expect(native.filter(name => !existsSync(join(__dirname, 'native', `${basename(name)}.cc`)))).toEqual([]);
  const steps = readFileSync(join(root, 'scripts', 'test.mjs'), 'utf8');
  expect(rows.flatMap(row => row.steps ?? []).filter(name => !steps.includes(`  ${name}: `))).toEqual([]);
  expect([jest.length > 0, native.length > 0]).toEqual([true, true]);
});

test('a commit that is not here is refused with what to do', () => {
  const run = (): string =>
    execFileSync(process.execPath, [join(root, 'scripts', 'test.mjs'), '--changed', 'no-such-commit'], {
      encoding: 'utf8',
      stdio: 'pipe',
    });
  expect(run).toThrow(/Name a commit that is here: npm test -- --changed COMMIT/);
});
