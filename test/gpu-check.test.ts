// scripts/gpu-check.sh with the emulator standing in for the GPU: what it runs, what it writes, and that a wrong result does not pass.
//
// Where a Python with PyTorch is at hand (python3, or Debian's /usr/bin/python3), its scripts are run too: the random weights made twice, logits against float32.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { folder, gpuCheck, torch, tree, writeProgram } from './support/gpu-check';
import { root } from './support/models';

jest.setTimeout(600_000);

// The ops of ops.h, each at its number there.
const opNames = (): string[] => {
  const header = fs.readFileSync(path.join(root, 'native', 'ops', 'ops.h'), 'utf8');
  const [, body = ''] = /typedef enum nvlm_op \{([\s\S]*?)NVLM_OP_COUNT\s*\} nvlm_op;/.exec(header) ?? [];
  const names = body.replace(/\/\*[\s\S]*?\*\//g, '').match(/\bNVLM_\w+/g) ?? [];
  expect(names).toContain('NVLM_SAMPLE');
  return names;
};

const written = (name: string): string => {
  const [file] = fs
    .readdirSync(path.join(folder, name))
    .filter(entry => /^\d{4}-\d\d-\d\d-gpu-emulated\.json$/.test(entry));
  return path.join(folder, name, file ?? 'nothing was written');
};

/**
 * A tree for the paths of failure, after the whole run: cuda_ptx_test is the real one, and what takes long stands in, models with the lines of the whole run.
 */
function standIns(name: string, opTimes: string): string {
  const place = path.join(folder, `tree-${name}`);
  const programs = path.join(place, 'test', 'native');
  writeProgram(path.join(programs, 'cuda_ops_test'), ':');
  writeProgram(path.join(programs, 'cuda_golden_test'), ':');
  writeProgram(path.join(programs, 'gpu', 'op_times_emulated'), opTimes);
  fs.symlinkSync(path.join(tree, 'Release'), path.join(place, 'Release'));
  fs.symlinkSync(path.join(tree, 'test', 'native', 'cuda_ptx_test'), path.join(programs, 'cuda_ptx_test'));
  const lines = path.join(folder, 'whole', 'models.json');
  writeProgram(
    path.join(programs, 'gpu', 'model_times'),
    `model=$2
while [ $# -gt 0 ]; do
  [ "$1" = --json ] && grep -F "$model" ${lines} >> "$2"
  [ "$1" = --logits ] && mkdir -p "$2" && touch "$2/image.json"
  shift
done
:`,
  );
  return place;
}

it('runs every stage, writes one file of everything and passes', () => {
  const { status, output, stages } = gpuCheck('whole');
  expect(stages).toEqual({
    build: 'ok',
    'ptx-emulated': 'ok',
    ptx: 'ok',
    ops: 'ok',
    golden: 'ok',
    times: 'ok',
    rivals: torch ? 'ok' : 'skipped',
    ...Object.fromEntries(
      ['D', 'X', 'H'].flatMap(family => [`header-${family}-tiny`, `model-${family}-tiny`].map(stage => [stage, 'ok'])),
    ),
    ...(torch
      ? {
          'logits-D-tiny': 'ok',
          'logits-X-tiny': 'ok',
          'logits-H-tiny': 'ok',
          'rival-tiny': 'ok',
          'encoder-tiny': 'ok',
        }
      : {}),
  });
  expect(output).toContain('every result is right');
  expect(status).toBe(0);
  const report = JSON.parse(fs.readFileSync(written('whole'), 'utf8')) as {
    emulated: boolean;
    wrong: string[];
    ops: { name: string; op: number; us: number }[];
    models: { name: string; cpu_error: number; logits: object | null }[];
    targets: { name: string; met: boolean | null }[];
  };
  expect(report).toMatchObject({ gpu: 'emulated', emulated: true, wrong: [] });
  // An op of the op table without a time is none that is known to be fast.
  const timed = new Set(report.ops.map(op => op.op));
  expect(opNames().filter((_, op) => !timed.has(op))).toEqual([]);
  // What has no record of its own, and those that a target names.
  const names = [
    'device copy',
    'resize',
    'gemm 8192',
    'attention tiles 7x1025, 25 heads of 128',
    'cross attention 1024',
    'cross attention decode',
  ];
  names.push(
    'decode 7B norm + qkv + rope + write',
    'sample greedy',
    'sample top-p',
    'sample top-k',
    'sample min-p',
    'sample greedy, penalties',
  );
  expect(names.filter(name => !report.ops.some(op => op.name.startsWith(name)))).toEqual([]);
  for (const op of report.ops) expect(op.us).toBeGreaterThan(0);
  expect(report.models.map(model => model.name)).toEqual(['D, tiny, tiny', 'X, tiny, tiny', 'H, tiny, tiny']);
  for (const model of report.models) {
    expect(model.cpu_error).toBeGreaterThan(0);
    if (torch) expect(model.logits).toMatchObject({ text: { right: true }, image: { right: true }, right: true });
  }
  expect(report.targets).toContainEqual(expect.objectContaining({ name: "prefill of X, 7b: x D's", met: null }));
});

it('goes red over one wrong value of one wrapper and a program that fails, and still runs and reports the rest', () => {
  const expected = path.join(folder, 'expected.txt');
  const right = fs.readFileSync(path.join(folder, 'whole', 'ptx.txt'), 'utf8');
  const wrong = right.replace(
    /^(load_matrices_transposed \d+ \w+ )(\w+)/m,
    (_, before, word) => `${before}${word === '1' ? '2' : '1'}`,
  );
  expect(wrong).not.toBe(right);
  fs.writeFileSync(expected, wrong);
  const broken = standIns('planted', 'exit 3');
  const { status, output, stages } = gpuCheck('planted', { GPU_CHECK_EXPECTED: expected, GPU_CHECK_TREE: broken });
  expect(stages).toMatchObject({ ptx: 'WRONG', ops: 'ok', times: 'WRONG', 'model-D-tiny': 'ok', 'model-H-tiny': 'ok' });
  expect(output).toMatch(/FAILED .*load_matrices_transposed: 1 of 128 values differ/);
  expect(output).toContain('something is WRONG');
  expect(status).toBe(1);
  expect(JSON.parse(fs.readFileSync(written('planted'), 'utf8'))).toMatchObject({ ops: [], models: [{}, {}, {}] });
});

it('does not pass for want of time', () => {
  const { status, stages } = gpuCheck('late', { GPU_CHECK_SECONDS: '0' });
  expect(stages).toMatchObject({ ptx: 'skipped', ops: 'skipped', golden: 'skipped' });
  expect(status).toBe(1);
});

describe('a model whose logits are wrong', () => {
  it('does not pass the script', () => {
    // Python that finds the logits wrong, and otherwise does what Python does.
    const python = path.join(folder, 'python');
    fs.writeFileSync(
      python,
      '#!/bin/sh\ncase "$*" in *check_logits*) echo WRONG; exit 1;; *"import torch"*) echo torch;; *rival*) ;; *) exec python3 "$@";; esac\n',
      { mode: 0o755 },
    );
    const { status, stages, output } = gpuCheck('wrong', {
      GPU_CHECK_PYTHON: python,
      GPU_CHECK_TREE: standIns('wrong', ':'),
    });
    expect(stages).toMatchObject({
      ptx: 'ok',
      ops: 'ok',
      golden: 'ok',
      'model-D-tiny': 'ok',
      'logits-D-tiny': 'WRONG',
      'model-X-tiny': 'ok',
      'logits-X-tiny': 'WRONG',
    });
    expect(output).toContain('something is WRONG');
    expect(status).toBe(1);
  });

  it.each(['D', 'X', 'H'])('does not pass PyTorch, where that is installed: NVLM-%s', family => {
    const python = torch;
    if (python === undefined) return;
    const place = path.join(folder, `checkpoint-${family}`);
    const benchmarks = path.join(root, 'benchmarks', 'gpu');
    const run = (program: string, args: string[]): { status: number | null; stdout: string } =>
      spawnSync(program, args, {
        encoding: 'utf8',
        env: { ...process.env, NVLM_CUDA_LIBRARY: path.join(tree, 'Release', 'nvlm_emulator_random.so') },
      });
    const logits = path.join(folder, `logits-${family}`);
    run('python3', [path.join(benchmarks, 'random_model.py'), place, family, 'tiny', 'tiny']);
    const options = ['--device', 'emulator', '--text', '8', '--tiles', '0', '--decode', '1', '--logits', logits];
    expect(run(path.join(tree, 'test', 'native', 'gpu', 'model_times'), [place, family, ...options])).toMatchObject({
      status: 0,
    });
    const check = (): { status: number | null; stdout: string } =>
      run(python, [
        path.join(benchmarks, 'check_logits.py'),
        place,
        logits,
        path.join(folder, 'logits.json'),
        '--device',
        'cpu',
      ]);
    const planted = (name: string, plant: (bytes: Buffer) => void): { status: number | null; stdout: string } => {
      const file = path.join(logits, name);
      const right = fs.readFileSync(file);
      const wrong = Buffer.from(right);
      plant(wrong);
      fs.writeFileSync(file, wrong);
      const result = check();
      fs.writeFileSync(file, right);
      return result;
    };
    expect(check()).toMatchObject({ status: 0, stdout: expect.stringMatching(/^2 passed, 0 failed$/m) });
    for (const name of ['text', 'image']) {
      const row =
        fs.statSync(path.join(logits, `${name}.logits`)).size /
        JSON.parse(fs.readFileSync(path.join(logits, `${name}.json`), 'utf8')).outs.length;
      // The last step's logits, as if it had seen one key too few: those of the step before.
      const before = planted(`${name}.logits`, bytes =>
        bytes.copyWithin(bytes.length - row, bytes.length - 2 * row, bytes.length - row),
      );
      expect(before).toMatchObject({
        status: 1,
        stdout: expect.stringMatching(new RegExp(`^WRONG: logits of ${name} are 1\\.\\d`, 'm')),
      });
      const nan = planted(`${name}.logits`, bytes => bytes.fill(0xff, 0, 4));
      expect(nan).toMatchObject({
        status: 1,
        stdout: expect.stringMatching(new RegExp(`^WRONG: logits of ${name} are nan`, 'm')),
      });
    }
    // The last regular tile and the thumbnail have changed places.
    const swapped = planted('image.pixels', bytes => {
      const tile = bytes.length / 3;
      Buffer.concat([bytes.subarray(0, tile), bytes.subarray(2 * tile), bytes.subarray(tile, 2 * tile)]).copy(bytes);
    });
    expect(swapped).toMatchObject({
      status: 1,
      stdout: expect.stringMatching(/^logits of text .*\nWRONG: logits of image/),
    });
  });
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
  const times = {
    copy_gbytes: 4000,
    ops: [
      op('gemm 4096', 400, 343, 250),
      op('gemv 72B o', 40, 3, 3300),
      op('attention tiles 7x1025, 16 heads of 64', 100, 300, 100),
    ],
    wrong: [] as string[],
  };
  const write = (name: string, value: object): void => fs.writeFileSync(path.join(place, name), JSON.stringify(value));
  const report = (): { status: number | null; stdout: string } => {
    write('times.json', times);
    return spawnSync(
      'python3',
      [path.join(root, 'benchmarks', 'gpu', 'report.py'), place, 'NVIDIA H100', '90', '580.1'],
      {
        encoding: 'utf8',
      },
    );
  };
  const model = (name: string, prefill: number): string =>
    `${JSON.stringify({ name, positions: 2000, text: 1024, tiles: 7, token_bytes: 15e9, encode_ms: 10, prefill_ms: prefill, token_ms: 5, cpu_error: null })}\n`;
  fs.writeFileSync(
    path.join(place, 'models.json'),
    `${model('D, 7b, 300m', 180)}${model('X, 7b, 300m', 90)}{"name": "H, 7b`,
  );
  const rival = (error: number | null): void =>
    write('rival-7b.json', {
      rival: 'transformers 5',
      positions: 1024,
      prefill_ms: 70,
      token_ms: 12,
      decode: 'graph',
      error,
    });
  rival(0.01);
  const checked = (error: number | null): object => ({
    error,
    pytorch_error: 0.01,
    limit: 0.02,
    right: error !== null,
  });
  write('logits-D-7b.json', { text: checked(0.011), image: checked(0.012), right: true });
  const encoder = (error: number | null): void =>
    write('encoder-300m.json', { rival: 'transformers 5', tiles: 7, encode_ms: 5, error, limit: 0.02 });
  encoder(0.01);
  write('rivals.json', { torch: '2', cuda: '13', failed: {}, us: { 'gemm 4096': 180 } });
  const { status, stdout } = report();
  expect(stdout).toMatch(/^gemm 4096 +400\.0 +343\.0 +250 +6 % +180\.0 +0\.45$/m);
  expect(stdout).toMatch(
    /^D, 7b, 300m +10\.00 +180\.00 +11111 +5\.000 +3000 +1\.1e-02 +1\.2e-02 +transformers 5: 70\.0 \(1024 positions\), 12\.000 \(graph\)/m,
  );
  const rows: [string, string][] = [
    ['gemm 4096: of cuBLAS', '343.0 +762.2 +TFLOP/s +0.45 +0.50 +MISSED'],
    ['gemm 8192: of cuBLAS', '- +- +TFLOP/s +- +0.50 +not measured'],
    ['gemv 72B o: of copy', '3300.0 +4000.0 +GB/s +0.8[23] +0.85 +MISSED'],
    ['attention tiles 7x1025, 16 heads of 64', '300.0 +250.0 +TFLOP/s +1.20 +1.00 +met'],
    ['decode step of D, 7b: of copy', '3000.0 +4000.0 +GB/s +0.75 +0.85 +MISSED'],
    ['tokens/s of D, 7b: x transformers 5', '200.0 +83.3 +tokens/s +2.40 +2.00 +met'],
    ['encoder of 300m, 7 tiles: x transformers 5', '700.0 +1400.0 +tiles/s +0.50'],
    ["prefill of X, 7b: x D's", '11.1 +5.6 +prompts/s +2.00 +1.76 +met'],
    ["prefill of H, 7b: x D's", '- +5.6 +prompts/s +- +1.26 +not measured'],
  ];
  for (const [name, values] of rows) expect(stdout).toMatch(new RegExp(`^${name} +${values}$`, 'm'));
  expect(status).toBe(0);
  // A rival that computes something else is no rival: its time counts for nothing.
  const against = [
    ['tokens/s of D, 7b: x transformers 5', '200.0', 'tokens/s', '2.00'],
    ['encoder of 300m, 7 tiles: x transformers 5', '700.0', 'tiles/s', ''],
  ];
  for (const [error, words] of [
    [0.021, 'results are 2.1e-02 off, limit 2.0e-02'],
    [null, 'results were not compared'],
  ] as const) {
    rival(error);
    encoder(error);
    const { status: exit, stdout: table } = report();
    for (const [name, value, unit, least] of against) {
      expect(table).toMatch(
        new RegExp(`^${name} +${value} +- +${unit} +- +${least} +not measured: the rival's ${words}$`, 'm'),
      );
    }
    expect(exit).toBe(0);
  }
  rival(0.01);
  encoder(0.01);
  times.wrong.push('gemm 8192: [0, 0]: expected 1 but got 2');
  expect(report()).toMatchObject({ status: 1, stdout: expect.stringContaining('WRONG: gemm 8192') });
  times.wrong.pop();
  write('logits-D-7b.json', { text: checked(0.011), image: checked(null), right: false });
  expect(report()).toMatchObject({ status: 1, stdout: expect.stringContaining('WRONG: logits of D, 7b, 300m') });
});
