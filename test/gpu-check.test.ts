// scripts/gpu-check.sh with the emulator standing in for the GPU: what it runs, what it writes, and that a wrong result does not pass.
//
// Where a Python with PyTorch is at hand (python3, or Debian's /usr/bin/python3), its scripts are run too: the random weights made twice, logits against float32.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

jest.setTimeout(600_000);

const root = path.resolve(__dirname, '..');
const tree = process.env['GPU_CHECK_TREE'] ?? path.join(root, 'out', 'release');

const torch = ['python3', '/usr/bin/python3'].find(python => spawnSync(python, ['-c', 'import torch']).status === 0);

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nvlm-gpu-check-'));
});
afterAll(() => fs.rmSync(folder, { recursive: true, force: true }));

// The ops of ops.h, each at its number there.
const opNames = (): string[] => {
  const header = fs.readFileSync(path.join(root, 'native', 'ops', 'ops.h'), 'utf8');
  const [, body = ''] = /typedef enum nvlm_op \{([\s\S]*?)NVLM_OP_COUNT\s*\} nvlm_op;/.exec(header) ?? [];
  const names = body.replace(/\/\*[\s\S]*?\*\//g, '').match(/\bNVLM_\w+/g) ?? [];
  expect(names).toContain('NVLM_SAMPLE');
  return names;
};

interface Result {
  status: number | null;
  output: string;
  stages: Record<string, string>;
}

function gpuCheck(name: string, env: Record<string, string> = {}): Result {
  const done = spawnSync('bash', [path.join(root, 'scripts', 'gpu-check.sh'), path.join(folder, name)], {
    encoding: 'utf8',
    env: {
      ...process.env,
      GPU_CHECK_EMULATOR: '1',
      GPU_CHECK_SECONDS: '1500',
      GPU_CHECK_TREE: tree,
      GPU_CHECK_PYTHON: torch ?? 'python3',
      ...env,
    },
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
    rivals: torch ? 'ok' : 'skipped',
    ...Object.fromEntries(['D', 'X', 'H'].flatMap(family => [`header-${family}-tiny`, `model-${family}-tiny`].map(stage => [stage, 'ok']))),
    ...(torch ? { 'logits-D-tiny': 'ok', 'logits-X-tiny': 'ok', 'logits-H-tiny': 'ok', 'rival-tiny': 'ok', 'encoder-tiny': 'ok' } : {}),
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
  const wrong = right.replace(/^(load_matrices_transposed \d+ \w+ )(\w+)/m, (_, before, word) => `${before}${word === '1' ? '2' : '1'}`);
  expect(wrong).not.toBe(right);
  fs.writeFileSync(expected, wrong);
  // A tree whose op_times does not run.
  const broken = path.join(folder, 'tree');
  const programs = path.join(broken, 'test', 'native');
  fs.mkdirSync(path.join(programs, 'gpu'), { recursive: true });
  fs.symlinkSync(path.join(tree, 'Release'), path.join(broken, 'Release'));
  for (const program of ['cuda_ptx_test', 'cuda_ops_test', 'cuda_golden_test', 'gpu/model_times']) {
    fs.symlinkSync(path.join(tree, 'test', 'native', program), path.join(programs, program));
  }
  fs.writeFileSync(path.join(programs, 'gpu', 'op_times_emulated'), '#!/bin/sh\nexit 3\n', { mode: 0o755 });
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

// ---- Programs that stand in for those of the tree ----

// A shell program.
const writeProgram = (file: string, body: string): void => {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, `#!/bin/bash\n${body}\n`, { mode: 0o755 });
};

// A tree of programs that do nothing but what `bodies` say and note what they were called with; in `bin` those of the machine. Python makes the report alone.
function standIns(name: string, bodies: Record<string, string> = {}): { tree: string; python: string; bin: string; said: () => string[] } {
  const place = path.join(folder, `stand-ins-${name}`);
  const log = path.join(place, 'said');
  const say = `echo "$(basename "$0") $*" >> ${log}\n`;
  const native = path.join(place, 'test', 'native');
  for (const file of ['cuda_ptx_test', 'cuda_ops_test', 'cuda_golden_test', 'gpu/op_times_emulated'])
    writeProgram(path.join(native, file), bodies[file] ?? ':');
  for (const file of ['cuda_ptx_gpu', 'cuda_ops_gpu', 'cuda_golden_gpu', 'op_times', 'model_times']) {
    writeProgram(path.join(native, 'gpu', file), say + (bodies[file] ?? ':'));
  }
  for (const file of ['nvlm_emulator.so', 'nvlm_emulator_random.so', 'nvlm_cuda.so', 'nvlm_cuda_random.so'])
    fs.writeFileSync(path.join(place, file), '');
  const bin = path.join(place, 'bin');
  for (const file of ['nvidia-smi', 'nvcc', 'cmake', 'compute-sanitizer']) writeProgram(path.join(bin, file), say + (bodies[file] ?? ':'));
  const python = path.join(place, 'python');
  writeProgram(
    python,
    `${say}${bodies['python'] ?? ''}\ncase "$*" in *report.py*) exec python3 "$@";; *"import torch"*) echo python;; esac`,
  );
  return { tree: place, python, bin, said: () => fs.readFileSync(log, 'utf8').trim().split('\n') };
}

describe('a program that hangs', () => {
  it('is a fault when it is stopped at its own limit, and want of time when the run is over; the run ends in time', () => {
    const seconds = 30;
    const hang = 'trap "" TERM; sleep 100 & wait; sleep 100';
    const run = (name: string, bodies: Record<string, string>, env: Record<string, string>): Result & { took: number } => {
      const { tree, python } = standIns(name, bodies);
      const started = Date.now();
      const result = gpuCheck(name, { GPU_CHECK_TREE: tree, GPU_CHECK_PYTHON: python, GPU_CHECK_SECONDS: String(seconds), ...env });
      return { ...result, took: (Date.now() - started) / 1e3 };
    };
    const hung = run('hung', { model_times: hang }, { GPU_CHECK_STAGE_SECONDS: '3' });
    expect(hung.stages).toMatchObject({ times: 'ok', 'header-D-tiny': 'ok', 'model-D-tiny': 'HUNG' });
    expect(hung.output).toMatch(/^model-D-tiny +HUNG .*stopped at its own limit of 3 s/m);
    expect(hung.status).toBe(1);
    const late = run('cut', { model_times: hang }, {});
    expect(late.stages).toMatchObject({ times: 'ok', 'model-D-tiny': 'late', 'model-X-tiny': 'skipped' });
    expect(late.output).toContain("when the run's time was over");
    expect(late.status).toBe(0);
    // All of them, and Python and its report, hang.
    const all = run(
      'all',
      { cuda_ptx_test: hang, cuda_ops_test: hang, cuda_golden_test: hang, 'gpu/op_times_emulated': hang, python: hang },
      {},
    );
    expect(all.stages).toMatchObject({ 'ptx-emulated': 'late', ops: 'skipped', times: 'skipped' });
    expect(all.status).toBe(1);
    for (const { took } of [hung, late, all]) expect(took).toBeLessThan(seconds);
  });

  it('is no fault when it is a rival, and a fault when it writes the checkpoint', () => {
    const hangs = 'case "$*" in *random_model.py*) sleep 100;; *rivals.py*) sleep 100;; *"import torch"*) echo torch; exit;; esac';
    const { tree, python } = standIns('rival', { python: hangs });
    const { stages, status } = gpuCheck('rival', { GPU_CHECK_TREE: tree, GPU_CHECK_PYTHON: python, GPU_CHECK_STAGE_SECONDS: '3' });
    expect(stages).toMatchObject({ rivals: 'late', 'header-D-tiny': 'HUNG', 'header-H-tiny': 'HUNG' });
    expect(stages).not.toHaveProperty('model-D-tiny');
    expect(status).toBe(1);
  });
});

describe('with a GPU (its programs, driver and compiler stand-ins)', () => {
  const gpus = [
    'NVIDIA RTX A4000, 8.6, 580.65.06, 0, GPU-aaaa',
    'NVIDIA H200, 9.0, 580.65.06, 1, GPU-bbbb',
    'NVIDIA RTX A4000, 8.6, 580.65.06, 10, GPU-cccc',
  ];
  const smi = `printf '%s\\n' ${gpus.map(gpu => `'${gpu}'`).join(' ')}`;
  // Writes logits where it is told to, as the real one does; its words stand behind --logits.
  const models = 'while [ $# -gt 0 ]; do [ "$1" = --logits ] && mkdir -p "$2" && touch "$2/image.json"; shift; done';
  const withTorch = 'case "$*" in *"import torch"*) echo torch transformers; exit;; esac';
  const run = (
    name: string,
    bodies: Record<string, string>,
    env: Record<string, string> = {},
  ): Result & { said: string[]; order: string[] } => {
    const { tree, python, bin, said } = standIns(name, { 'nvidia-smi': smi, model_times: models, python: withTorch, ...bodies });
    const result = gpuCheck(name, {
      GPU_CHECK_EMULATOR: '',
      GPU_CHECK_SECONDS: '120',
      GPU_CHECK_TREE: tree,
      GPU_CHECK_PYTHON: python,
      PATH: `${bin}:${process.env['PATH']}`,
      CUDA_VISIBLE_DEVICES: '1',
      ...env,
    });
    return { ...result, said: said(), order: Object.keys(result.stages) };
  };
  const sanitizer = ['memcheck', 'racecheck', 'memcheck-ptx', 'racecheck-ptx'];
  const ofModel = (name: string): string[] => [`header-${name}`, `model-${name}`, `logits-${name}`];
  const order = [
    ...['build', 'ptx-emulated', 'ptx', 'ops', 'golden', 'times', 'rivals'],
    ...[...ofModel('D-7b'), 'rival-7b', 'encoder-300m', ...ofModel('X-7b'), ...ofModel('H-7b')],
    ...[...ofModel('D-0.5b'), 'rival-0.5b', 'encoder-300m', ...ofModel('X-0.5b'), ...ofModel('H-0.5b')],
    ...[...ofModel('D-72b-layer'), 'rival-72b-layer', 'encoder-6b-layer'],
  ];

  it('runs every stage in its order, on the GPU that is chosen', () => {
    const { status, output, stages, order: ran, said } = run('gpu', {});
    expect(ran).toEqual([...new Set([...order, ...sanitizer])]);
    expect(new Set(Object.values(stages))).toEqual(new Set(['ok']));
    expect(output).toContain('NVIDIA H200, compute capability 90, driver 580.65.06');
    expect(output).toContain('one of 3 GPUs');
    expect(output).toContain('every result is right');
    expect(status).toBe(0);
    expect(said).toContainEqual(expect.stringMatching(/^cmake -S .* -DNVLM_CUDA=on -DNVLM_CUDA_ARCHS=90 -DNVLM_GPU_CHECK=ON$/));
    expect(said).toContainEqual(expect.stringMatching(/^cmake --build .* --target .*cuda_ops_gpu.* op_times .*nvlm_cuda_random$/));
    expect(said).toContainEqual(expect.stringMatching(/^op_times --json .*times\.json$/));
    expect(said).toContainEqual(expect.stringMatching(/^compute-sanitizer --tool racecheck .*cuda_ops_gpu layer_norm$/));
    expect(said).toContainEqual(expect.stringMatching(/^model_times \S+ D, 72b-layer, 6b-layer .*--check$/));
    const [file] = fs.readdirSync(path.join(folder, 'gpu')).filter(entry => entry.endsWith('-gpu-nvidia-h200.json'));
    const report = JSON.parse(fs.readFileSync(path.join(folder, 'gpu', file ?? 'nothing was written'), 'utf8')) as object;
    expect(report).toMatchObject({ gpu: 'NVIDIA H200', capability: '90', emulated: false });
  });

  it.each([
    ['', '86'],
    ['GPU-bbbb,GPU-aaaa', '90'],
    ['0,1', '86'],
  ])('builds for the GPU that CUDA_VISIBLE_DEVICES=%s means', (visible, capability) => {
    // Nothing but the build: it fails.
    const { status, stages, said } = run(`visible-${visible}`, { cmake: 'exit 1' }, { CUDA_VISIBLE_DEVICES: visible });
    expect(said).toContainEqual(expect.stringContaining(`-DNVLM_CUDA_ARCHS=${capability} `));
    expect(stages).toEqual({ build: 'WRONG' });
    expect(status).toBe(1);
  });

  it('goes red over a program of the GPU that fails, and sends compute-sanitizer ahead', () => {
    const { status, output, stages, order: ran } = run('gpu-wrong', { cuda_ops_gpu: 'echo "FAILED layer_norm"; exit 1' });
    expect(stages).toMatchObject({ ptx: 'ok', ops: 'WRONG', golden: 'ok', memcheck: 'ok', times: 'ok', 'model-D-7b': 'ok' });
    expect(ran.indexOf('racecheck-ptx')).toBeLessThan(ran.indexOf('times'));
    expect(output).toMatch(/^ops +WRONG .*exit code 1.*\n +FAILED layer_norm$/m);
    expect(status).toBe(1);
  });

  it.each([
    ['op_times', 'times'],
    ['model_times', 'model-D-7b'],
    ['compute-sanitizer', 'memcheck'],
  ])('goes red over %s alone', (name, stage) => {
    const { status, stages } = run(`gpu-${name}`, { [name]: 'exit 9' });
    expect(stages).toMatchObject({ ptx: 'ok', ops: 'ok', golden: 'ok', [stage]: 'WRONG' });
    expect(status).toBe(1);
  });

  it('says what is missing where there is no GPU', () => {
    const place = path.join(folder, 'none');
    const { python, bin, tree } = standIns('none', { 'nvidia-smi': 'echo "No devices were found"; exit 6' });
    const done = spawnSync('bash', [path.join(root, 'scripts', 'gpu-check.sh'), place], {
      encoding: 'utf8',
      env: {
        ...process.env,
        PATH: `${bin}:${process.env['PATH']}`,
        GPU_CHECK_EMULATOR: '',
        GPU_CHECK_TREE: tree,
        GPU_CHECK_PYTHON: python,
      },
    });
    expect(done.stderr).toContain('nvidia-smi names no GPU: No devices were found');
    expect(done.status).toBe(2);
  });
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
    const { status, stages, output } = gpuCheck('wrong', { GPU_CHECK_PYTHON: python });
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
    if (torch === undefined) return;
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
    expect(run(path.join(tree, 'test', 'native', 'gpu', 'model_times'), [place, family, ...options])).toMatchObject({ status: 0 });
    const check = (): { status: number | null; stdout: string } =>
      run(torch, [path.join(benchmarks, 'check_logits.py'), place, logits, path.join(folder, 'logits.json'), '--device', 'cpu']);
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
      const before = planted(`${name}.logits`, bytes => bytes.copyWithin(bytes.length - row, bytes.length - 2 * row, bytes.length - row));
      expect(before).toMatchObject({ status: 1, stdout: expect.stringMatching(new RegExp(`^WRONG: logits of ${name} are 1\\.\\d`, 'm')) });
      const nan = planted(`${name}.logits`, bytes => bytes.fill(0xff, 0, 4));
      expect(nan).toMatchObject({ status: 1, stdout: expect.stringMatching(new RegExp(`^WRONG: logits of ${name} are nan`, 'm')) });
    }
    // The last regular tile and the thumbnail have changed places.
    const swapped = planted('image.pixels', bytes => {
      const tile = bytes.length / 3;
      Buffer.concat([bytes.subarray(0, tile), bytes.subarray(2 * tile), bytes.subarray(tile, 2 * tile)]).copy(bytes);
    });
    expect(swapped).toMatchObject({ status: 1, stdout: expect.stringMatching(/^logits of text .*\nWRONG: logits of image/) });
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
    ops: [op('gemm 4096', 400, 343, 250), op('gemv 72B o', 40, 3, 3300), op('attention tiles 7x1025, 16 heads of 64', 100, 300, 100)],
    wrong: [] as string[],
  };
  const write = (name: string, value: object): void => fs.writeFileSync(path.join(place, name), JSON.stringify(value));
  const report = (): { status: number | null; stdout: string } => {
    write('times.json', times);
    return spawnSync('python3', [path.join(root, 'benchmarks', 'gpu', 'report.py'), place, 'NVIDIA H100', '90', '580.1'], {
      encoding: 'utf8',
    });
  };
  const model = (name: string, prefill: number): string =>
    `${JSON.stringify({ name, positions: 2000, text: 1024, tiles: 7, token_bytes: 15e9, encode_ms: 10, prefill_ms: prefill, token_ms: 5, cpu_error: null })}\n`;
  fs.writeFileSync(path.join(place, 'models.json'), `${model('D, 7b, 300m', 180)}${model('X, 7b, 300m', 90)}{"name": "H, 7b`);
  const rival = (error: number | null): void =>
    write('rival-7b.json', { rival: 'transformers 5', positions: 1024, prefill_ms: 70, token_ms: 12, decode: 'graph', error });
  rival(0.01);
  const checked = (error: number | null): object => ({ error, pytorch_error: 0.01, limit: 0.02, right: error !== null });
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
      expect(table).toMatch(new RegExp(`^${name} +${value} +- +${unit} +- +${least} +not measured: the rival's ${words}$`, 'm'));
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
