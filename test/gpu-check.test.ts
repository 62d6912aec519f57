// scripts/gpu-check.sh with the emulator standing in for the GPU: what it runs, what it writes, and that a wrong result does not pass.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

jest.setTimeout(300_000);

const root = path.resolve(__dirname, '..');
const tree = process.env['GPU_CHECK_TREE'] ?? path.join(root, 'out', 'release');

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nvlm-gpu-check-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

interface Result {
  status: number | null;
  output: string;
  stages: Record<string, string>;
}

function gpuCheck(name: string, env: Record<string, string> = {}): Result {
  const done = spawnSync('bash', [path.join(root, 'scripts', 'gpu-check.sh'), path.join(folder, name)], {
    encoding: 'utf8',
    env: { ...process.env, GPU_CHECK_EMULATOR: '1', GPU_CHECK_TREE: tree, ...env },
  });
  const rows = fs
    .readFileSync(path.join(folder, name, 'stages.tsv'), 'utf8')
    .trim()
    .split('\n')
    .slice(1)
    .map(line => line.split('\t'));
  return {
    status: done.status,
    output: done.stdout + done.stderr,
    stages: Object.fromEntries(rows.map(([, stage, state]) => [stage, state])),
  };
}

const written = (name: string): string => {
  const [file] = fs.readdirSync(path.join(folder, name)).filter(entry => /^\d{4}-\d\d-\d\d-gpu-emulated\.json$/.test(entry));
  return path.join(folder, name, file ?? 'nothing was written');
};

it('runs every stage, writes one file of everything and passes', () => {
  const { status, output, stages } = gpuCheck('whole');
  expect(stages).toEqual({
    build: 'ok',
    'ptx-emulated': 'ok',
    ptx: 'ok',
    ops: 'ok',
    golden: 'ok',
    times: 'ok',
    rivals: 'skipped',
    'model-D-tiny': 'ok',
    'model-X-tiny': 'ok',
    'model-H-tiny': 'ok',
  });
  expect(output).toContain('every result is right');
  expect(status).toBe(0);
  const report = JSON.parse(fs.readFileSync(written('whole'), 'utf8')) as {
    emulated: boolean;
    wrong: string[];
    ops: { name: string; us: number }[];
  };
  expect(report).toMatchObject({ gpu: 'emulated', emulated: true, wrong: [] });
  expect(report.ops.map(op => op.name)).toEqual(
    expect.arrayContaining(['device copy', 'gemm 8192', 'attention tiles 7x1025, 25 heads of 128']),
  );
});

it('goes red over one wrong value of one wrapper, and still runs and reports the rest', () => {
  const expected = path.join(folder, 'expected.txt');
  const right = fs.readFileSync(path.join(folder, 'whole', 'ptx.txt'), 'utf8');
  const wrong = right.replace(/^(load_matrices_transposed \d+ \w+ )(\w+)/m, (_, before, word) => `${before}${word === '1' ? '2' : '1'}`);
  expect(wrong).not.toBe(right);
  fs.writeFileSync(expected, wrong);
  const { status, output, stages } = gpuCheck('planted', { GPU_CHECK_EXPECTED: expected });
  expect(stages).toMatchObject({ ptx: 'WRONG', ops: 'ok', times: 'ok' });
  expect(output).toMatch(/FAILED .*load_matrices_transposed: 1 of 128 values differ/);
  expect(output).toContain('something is WRONG');
  expect(status).toBe(1);
  expect(fs.existsSync(written('planted'))).toBe(true);
});

it('does not pass for want of time', () => {
  const { status, stages } = gpuCheck('late', { GPU_CHECK_SECONDS: '0' });
  expect(stages).toMatchObject({ ptx: 'skipped', ops: 'skipped', golden: 'skipped' });
  expect(status).toBe(1);
});

it('holds times against rivals and targets in one table', () => {
  const place = path.join(folder, 'report');
  fs.mkdirSync(place);
  const op = (name: string, us: number, tflops: number, gbytes: number): object => ({
    name,
    bound: 'product',
    us,
    spread_us: 1,
    tflops,
    gbytes,
  });
  fs.writeFileSync(path.join(place, 'stages.tsv'), 'check\tstage\tstate\tseconds\tdetail\nmust\tptx\tok\t1\t\n');
  const times = { copy_gbytes: 4000, ops: [op('gemm 4096', 400, 343, 250), op('gemv 72B o', 40, 3, 3300)], wrong: [] as string[] };
  const report = (): { status: number | null; stdout: string } => {
    fs.writeFileSync(path.join(place, 'times.json'), JSON.stringify(times));
    return spawnSync('python3', [path.join(root, 'benchmarks', 'gpu', 'report.py'), place, 'NVIDIA H100', '90', '580.1'], {
      encoding: 'utf8',
    });
  };
  const model = (name: string, prefill: number): string =>
    `${JSON.stringify({ name, positions: 2000, text: 1024, tiles: 7, weight_bytes: 15e9, encode_ms: 10, prefill_ms: prefill, token_ms: 5, error: 0 })}\n`;
  fs.writeFileSync(path.join(place, 'models.json'), model('D, 7b, 300m', 190) + model('X, 7b, 300m', 90));
  fs.writeFileSync(path.join(place, 'hf-7b.json'), JSON.stringify({ transformers: '5', positions: 1024, prefill_ms: 70, token_ms: 12 }));
  fs.writeFileSync(path.join(place, 'rivals.json'), JSON.stringify({ torch: '2', cuda: '13', failed: {}, us: { 'gemm 4096': 180 } }));
  const { status, stdout } = report();
  expect(stdout).toMatch(/^gemm 4096 +400\.0 +343\.0 +250 +6 % +180\.0 +0\.45 +MISSED: rival >= 0\.5$/m);
  expect(stdout).toMatch(/^gemv 72B o +40\.0 +3\.0 +3300 +8[23] % +MISSED: copy >= 0\.85$/m);
  expect(stdout).toMatch(/^D, 7b, 300m +10\.00 +190\.00 +10526 +5\.000 +3000 +transformers: 12\.000 ms a token/m);
  expect(stdout).toMatch(/^X, 7b, 300m .* 2\.00 x D's$/m);
  expect(status).toBe(0);
  times.wrong.push('gemm 8192: [0, 0]: expected 1 but got 2');
  expect(report()).toMatchObject({ status: 1, stdout: expect.stringContaining('WRONG: gemm 8192') });
});
