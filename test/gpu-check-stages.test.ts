// scripts/gpu-check.sh with programs that stand in for its own: which stages run in which order, what becomes of one that fails or hangs, and the branch for a real GPU.
import fs from 'node:fs';
import path from 'node:path';
import { folder, gpuCheck, type Result, writeProgram } from './support/gpu-check';

jest.setTimeout(600_000);

// A tree of programs that do nothing but what `bodies` say and note what they were called with; in `bin` those of the machine. Python makes the report alone.
function standIns(
  name: string,
  bodies: Record<string, string> = {},
): { place: string; python: string; bin: string; said: () => string[] } {
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
  for (const file of ['nvidia-smi', 'nvcc', 'cmake', 'compute-sanitizer'])
    writeProgram(path.join(bin, file), say + (bodies[file] ?? ':'));
  const python = path.join(place, 'python');
  writeProgram(
    python,
    `${say}${bodies['python'] ?? ''}\ncase "$*" in *report.py*) exec python3 "$@";; *"import torch"*) echo python;; esac`,
  );
  return { place, python, bin, said: () => fs.readFileSync(log, 'utf8').trim().split('\n') };
}

describe('a program that hangs', () => {
  it('is a fault when it is stopped at its own limit, and want of time when the run is over; the run ends in time', () => {
    // The report's share is 20; a model is begun with 10 left. The other 20 are slack for a busy machine.
    const seconds = 50;
    const hang = 'trap "" TERM; sleep 100 & wait; sleep 100';
    const run = (
      name: string,
      bodies: Record<string, string>,
      env: Record<string, string>,
    ): Result & { took: number } => {
      const { place, python } = standIns(name, bodies);
      const started = Date.now();
      const result = gpuCheck(name, {
        GPU_CHECK_TREE: place,
        GPU_CHECK_PYTHON: python,
        GPU_CHECK_SECONDS: String(seconds),
        ...env,
      });
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
    const hangs =
      'case "$*" in *random_model.py*) sleep 100;; *rivals.py*) sleep 100;; *"import torch"*) echo torch; exit;; esac';
    const { place, python } = standIns('rival', { python: hangs });
    const { stages, status } = gpuCheck('rival', {
      GPU_CHECK_TREE: place,
      GPU_CHECK_PYTHON: python,
      GPU_CHECK_STAGE_SECONDS: '3',
    });
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
    const { place, python, bin, said } = standIns(name, {
      'nvidia-smi': smi,
      model_times: models,
      python: withTorch,
      ...bodies,
    });
    const result = gpuCheck(name, {
      GPU_CHECK_EMULATOR: '',
      GPU_CHECK_SECONDS: '120',
      GPU_CHECK_TREE: place,
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
    ...[...ofModel('D-7b'), 'rival-7b', 'encoder-300m'],
    ...[...ofModel('D-72b-layer'), 'rival-72b-layer', 'encoder-6b-layer'],
    ...[...ofModel('X-7b'), ...ofModel('H-7b'), ...sanitizer],
    ...[...ofModel('D-0.5b'), 'rival-0.5b', 'encoder-300m', ...ofModel('X-0.5b'), ...ofModel('H-0.5b')],
  ];

  it('runs every stage in its order, on the GPU that is chosen', () => {
    const { status, output, stages, order: ran, said } = run('gpu', {});
    expect(ran).toEqual([...new Set(order)]);
    expect(new Set(Object.values(stages))).toEqual(new Set(['ok']));
    expect(output).toContain('NVIDIA H200, compute capability 90, driver 580.65.06');
    expect(output).toContain('one of 3 GPUs');
    expect(output).toContain('every result is right');
    expect(status).toBe(0);
    expect(said).toContainEqual(
      expect.stringMatching(/^cmake -S .* -DNVLM_CUDA=on -DNVLM_CUDA_ARCHS=90 -DNVLM_GPU_CHECK=ON$/),
    );
    expect(said).toContainEqual(
      expect.stringMatching(/^cmake --build .* --target .*cuda_ops_gpu.* op_times .*nvlm_cuda_random$/),
    );
    expect(said).toContainEqual(expect.stringMatching(/^op_times --json .*times\.json$/));
    expect(said).toContainEqual(
      expect.stringMatching(/^compute-sanitizer --tool racecheck .*cuda_ops_gpu layer_norm$/),
    );
    expect(said).toContainEqual(expect.stringMatching(/^model_times \S+ D, 72b-layer, 6b-layer .*--check$/));
    const [file] = fs.readdirSync(path.join(folder, 'gpu')).filter(entry => entry.endsWith('-gpu-nvidia-h200.json'));
    const report = JSON.parse(
      fs.readFileSync(path.join(folder, 'gpu', file ?? 'nothing was written'), 'utf8'),
    ) as object;
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
    const {
      status,
      output,
      stages,
      order: ran,
    } = run('gpu-wrong', { cuda_ops_gpu: 'echo "FAILED layer_norm"; exit 1' });
    expect(stages).toMatchObject({
      ptx: 'ok',
      ops: 'WRONG',
      golden: 'ok',
      memcheck: 'ok',
      times: 'ok',
      'model-D-7b': 'ok',
    });
    expect(ran.indexOf('racecheck-ptx')).toBeLessThan(ran.indexOf('times'));
    expect(output).toMatch(/^ops +WRONG .*exit code 1.*\n +FAILED layer_norm$/m);
    expect(status).toBe(1);
  });

  it.each([
    ['op_times', 'times'],
    ['model_times', 'model-D-7b'],
    ['compute-sanitizer', 'memcheck'],
  ])('goes red over %s alone', (name, stage) => {
    // compute-sanitizer is tried first, and then told which exit code means that it found something.
    const { status, stages } = run(`gpu-${name}`, {
      [name]: stage === 'memcheck' ? '[[ $* != *exitcode* ]] || exit 9' : 'exit 9',
    });
    expect(stages).toMatchObject({ ptx: 'ok', ops: 'ok', golden: 'ok', [stage]: 'WRONG' });
    expect(status).toBe(1);
  });

  it('leaves out models that the GPU has no memory for, and a compute-sanitizer that does not run there', () => {
    const { status, stages, output } = run('small', {
      model_times: 'echo "left out: 16 GB"; exit 77',
      'compute-sanitizer': 'echo "Device not supported"; exit 1',
    });
    expect(stages).toMatchObject({ 'model-D-7b': 'skipped', 'model-H-0.5b': 'skipped', sanitizer: 'skipped' });
    expect(output).toMatch(/^model-D-7b +skipped .*left out: 16 GB$/m);
    expect(output).toMatch(/^sanitizer +skipped .*Device not supported$/m);
    expect(status).toBe(0);
  });

  it('says what is missing where there is no GPU', () => {
    const { status, output, stages } = run('none', { 'nvidia-smi': 'echo "No devices were found"; exit 6' });
    expect(output).toContain('nvidia-smi names no GPU: No devices were found');
    expect(stages).toEqual({});
    expect(status).toBe(2);
  });
});
