// scripts/check-kernels.mjs: each rule goes red on a violation planted in a copy of native/cuda.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const root = path.resolve(__dirname, '..');
const hasCompiler = spawnSync('nvcc', ['--version']).error === undefined;

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'nvlm-kernels-'));
  fs.mkdirSync(path.join(folder, 'cuda', 'kernels'), { recursive: true });
});
afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

function check({ compiler = false, architectures = '80', words = [] as string[] } = {}): {
  status: number | null;
  output: string;
} {
  // Without nvcc on the way, the sources alone are checked.
  const away = fs.mkdtempSync(path.join(folder, 'bin-'));
  for (const tool of ['node', 'c++filt', 'readelf']) {
    const found = spawnSync('which', [tool], { encoding: 'utf8' }).stdout.trim();
    if (found) fs.symlinkSync(found, path.join(away, tool));
  }
  const env = { ...process.env, NVLM_CUDA_ARCHS: architectures, ...(compiler ? {} : { PATH: away }) };
  const done = spawnSync(process.execPath, [path.join(root, 'scripts', 'check-kernels.mjs'), folder, ...words], {
    encoding: 'utf8',
    env,
  });
  return { status: done.status, output: done.stdout + done.stderr };
}

function write(file: string, text: string): void {
  fs.mkdirSync(path.dirname(path.join(folder, 'cuda', file)), { recursive: true });
  fs.writeFileSync(path.join(folder, 'cuda', file), text);
}

const barrier = 'asm volatile("bar.sync 0;" ::: "memory");';

it('passes the sources of this repository', () => {
  fs.cpSync(path.join(root, 'native', 'cuda'), path.join(folder, 'cuda'), { recursive: true });
  const { status, output } = check();
  expect(output).toContain('skipped: registers');
  expect(output).toContain('kernels: ok');
  expect(status).toBe(0);
});

it.each([
  ['PTX outside ptx/', 'kernels/x.cu', barrier, 'PTX outside'],
  ['PTX in a header outside ptx/', 'x.cuh', 'asm volatile("" ::: "memory");', 'PTX outside'],
  ['a launch in angle brackets', 'kernels/x.cu', 'kernel<<<1, 32>>>(args);', '<<<>>>'],
  ['cooperative groups', 'kernels/x.cu', '#include <cooperative_groups.h>', 'cooperative groups'],
  ['CUB', 'kernels/x.cu', '#include <cub/cub.cuh>', 'CUB'],
  ['a CUDA header', 'kernels/x.cu', '#include <cuda_bf16.h>', "header of CUDA's"],
  ['a CUDA header in a host file', 'x.cc', '#include <cuda_runtime.h>', "header of CUDA's"],
  ['libcu++', 'kernels/x.cu', '#include <cuda/std/atomic>', "header of CUDA's"],
  ['polling of volatile memory', 'kernels/x.cu', 'while (*(volatile int*)flag == 0) {}', 'volatile memory'],
  ['a shuffle without a mask', 'kernels/x.cu', 'x += __shfl_xor(x, 1);', 'explicit mask'],
  ['the active mask', 'kernels/x.cu', 'const unsigned m = __activemask();', 'explicit mask'],
  [
    'a wrapper that is not volatile',
    'ptx/x.h',
    'asm("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0}, [%1];" : "=r"(r) : "r"(a) : "memory");',
    'not asm volatile',
  ],
  ['a wrapper without a clobber', 'ptx/x.h', 'asm volatile("cp.async.commit_group;");', 'no "memory" clobber'],
  [
    'an mma that may move',
    'ptx/x.h',
    'asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0};" : "+f"(d));',
    'not asm volatile',
  ],
])('refuses %s', (_, file, text, words) => {
  write(file, `// one line\n${text}\n`);
  const { status, output } = check();
  expect(output).toContain(`native/cuda/${file}:2:`);
  expect(output).toContain(words);
  expect(status).toBe(1);
});

it('refuses dependent launches in a file that would not be compiled for them', () => {
  write('ptx/sm90.h', '#pragma once\n');
  write('kernels/x.cuh', '#include "cuda/ptx/sm90.h"\n');
  write('kernels/x.cu', '#include "cuda/kernels/x.cuh"\n');
  const { status, output } = check();
  expect(output).toContain('native/cuda/kernels/x.cu:1: ptx/sm90.h is reached');
  expect(status).toBe(1);
  write('kernels/x.cu', '#include "cuda/kernels/x.cuh"\n#include "cuda/ptx/sm90.h"\n');
  expect(check().output).toContain('kernels: ok');
});

it('lets comments, strings and arithmetic be', () => {
  write('kernels/x.cu', '// kernel<<<1, 2>>>, asm, volatile\n/* cub::Block\n asm */ const char* words = "asm <<<";\n');
  write('ptx/x.h', `asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(p) : "f"(h), "f"(l));\n${barrier}\n`);
  write('plan.h', 'bool stop(const volatile int32_t* cancel);\n');
  expect(check().output).toContain('kernels: ok');
});

// ---- A built library ----

/** An ELF file whose section .nv_fatbin holds these, each a list of [kind, architecture]: 1 is PTX, 2 machine code. */
function libraryOf(binaries: [number, number][][]): Buffer {
  const parts = binaries.map(entries => {
    const bodies = entries.map(([kind, architecture], i) => {
      const entry = Buffer.alloc(64 + 8 * i, 0x55); // header and, as if compressed, what follows
      entry.fill(0, 0, 64);
      entry.writeUInt16LE(kind, 0);
      entry.writeUInt32LE(64, 4);
      entry.writeBigUInt64LE(BigInt(8 * i), 8);
      entry.writeUInt32LE(architecture, 28);
      return entry;
    });
    const header = Buffer.alloc(16);
    const size = bodies.reduce((sum, body) => sum + body.length, 0);
    header.writeUInt32LE(0xba55ed50, 0);
    header.writeUInt16LE(16, 6);
    header.writeBigUInt64LE(BigInt(size), 8);
    return Buffer.concat([header, ...bodies, Buffer.alloc(24)]);
  });
  const names = Buffer.from('\0.shstrtab\0.nv_fatbin\0'.padEnd(24, '\0'), 'latin1');
  const content = Buffer.concat(parts);
  const elf = Buffer.alloc(64);
  elf.write('\x7fELF\x02\x01\x01', 'latin1');
  elf.writeBigUInt64LE(BigInt(64 + names.length + content.length), 0x28);
  elf.writeUInt16LE(64, 0x3a);
  elf.writeUInt16LE(3, 0x3c);
  elf.writeUInt16LE(1, 0x3e);
  const section = (name: number, at: number, size: number): Buffer => {
    const header = Buffer.alloc(64);
    header.writeUInt32LE(name, 0);
    header.writeBigUInt64LE(BigInt(at), 0x18);
    header.writeBigUInt64LE(BigInt(size), 0x20);
    return header;
  };
  return Buffer.concat([
    elf,
    names,
    content,
    section(0, 0, 0),
    section(1, 64, names.length),
    section(11, 64 + names.length, content.length),
  ]);
}

describe('a built library', () => {
  const code: [number, number][] = [80, 86, 89, 90, 100, 120].map(architecture => [2, architecture]);
  const plain: [number, number][] = [[1, 80], ...code];
  const dependent: [number, number][] = [...plain, [1, 90]];
  const without = (kind: number, architecture: number): [number, number][] =>
    plain.filter(entry => entry[0] !== kind || entry[1] !== architecture);

  function checkLibrary(content: Buffer, architectures = ''): { status: number | null; output: string } {
    write('ptx/sm90.h', '#pragma once\n');
    write('kernels/x.cu', '// a kernel\n');
    write('kernels/y.cu', '#include "cuda/ptx/sm90.h"\n');
    const file = path.join(folder, 'nvlm_cuda.so');
    fs.writeFileSync(file, content);
    return check({ architectures, words: ['--library', file] });
  }

  it('passes with every architecture and PTX', () => {
    const { status, output } = checkLibrary(libraryOf([plain, dependent]));
    expect(output).toContain('kernels: ok');
    expect(status).toBe(0);
  });

  it.each<[string, Buffer, string]>([
    [
      'code for one architecture of one file',
      libraryOf([without(2, 86), dependent]),
      'holds sm_86 of 1 files instead of 2',
    ],
    ['PTX of one file', libraryOf([without(1, 80), dependent]), 'holds compute_80 of 1 files instead of 2'],
    ['PTX for dependent launches', libraryOf([plain, plain]), 'holds compute_90 of 0 files, but 1 include ptx/sm90.h'],
    ['a file', libraryOf([dependent]), 'holds the kernels of 1 files, but there are 2 here'],
    ['all of it', libraryOf([]), 'holds no kernels'],
    ['what makes it a library', Buffer.from('no library'), 'holds no kernels'],
  ])('is refused without %s', (_, content, sentence) => {
    const { status, output } = checkLibrary(content);
    expect(output).toContain(sentence);
    expect(status).toBe(1);
  });

  it('is refused with code that nothing asks for', () => {
    const { status, output } = checkLibrary(libraryOf([[...plain, [2, 75]], dependent]));
    expect(output).toContain('holds sm_75, which nothing asks for');
    expect(status).toBe(1);
  });

  it('is not looked into when architectures were left out, and need not be there', () => {
    expect(checkLibrary(libraryOf([]), '80').output).toContain('skipped: what nvlm_cuda.so holds');
    expect(check({ words: ['--library', path.join(folder, 'missing.so')] }).output).toContain(
      'skipped: size and content of nvlm_cuda.so',
    );
  });
});

// ---- With nvcc: what the compiler says ----

const kernel = (body: string, bounds = '__launch_bounds__(128)'): string =>
  `__global__ void ${bounds} planted(float* x, int n) {\n${body}\n}\n`;
const manyValues = `float v[64];
#pragma unroll
for (int i = 0; i < 64; ++i) v[i] = x[i * n + threadIdx.x];
__syncthreads();
#pragma unroll
for (int i = 0; i < 64; ++i) x[i * n] = v[i] * v[63 - i] + v[i * 7 % 64];`;

// The accumulators are touched between fence and instruction as the compiler sees it.
const serialized = `__noinline__ __device__ float other(float x) { return x * x; }
__global__ void __launch_bounds__(128) planted(float* x, unsigned long long a, unsigned long long b) {
  float d[4] = {x[0], x[1], x[2], x[3]};
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
  asm volatile("{.reg .pred p; setp.ne.b32 p, 1, 0; wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 {%0,%1,%2,%3}, %4, %5, p, 1, 1, 0, 0;}"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "l"(a), "l"(b));
  x[9] = other(x[8]);
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
  asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
  for (int i = 0; i < 4; ++i) x[i] = d[i];
}`;

(hasCompiler ? describe : describe.skip)('with nvcc', () => {
  it('prints a table and passes a sound kernel', () => {
    write('kernels/x.cu', kernel('x[threadIdx.x] *= n;'));
    const { status, output } = check({ compiler: true, architectures: '80 90' });
    expect(output).toMatch(/^planted +128 +\d+ \/ \d+\.\d +\d+ \/ \d+\.\d +- +0 +0$/m);
    expect(output.match(/skipped: dynamic shared memory/g)).toHaveLength(1);
    expect(output).toContain('1 of 1 files compiled');
    expect(status).toBe(0);
    expect(check({ compiler: true, architectures: '80 90' }).output).toContain('0 of 1 files compiled');
  });

  it('adds the shared memory of launches, and refuses a kernel that nothing launched', () => {
    write(
      'kernels/x.cu',
      kernel('__shared__ float y[128];\ny[threadIdx.x] = x[n];\n__syncthreads();\nx[threadIdx.x] = y[n];'),
    );
    const program = path.join(folder, 'launches');
    const answer = (json: string, rc = 0): { status: number | null; output: string } => {
      const text = `#!${process.execPath}\nrequire('node:fs').writeFileSync(process.argv[3], '${json}');\nconsole.log('FAILED somewhere');\nprocess.exit(${rc});\n`;
      fs.writeFileSync(program, text, { mode: 0o755 });
      return check({ compiler: true, words: ['--shared', program] });
    };
    const { status, output } = answer('{"planted": 1024}');
    expect(output).toMatch(/^planted +128 +\d+ \/ \d+\.\d +1536 +0 +0$/m);
    expect(status).toBe(0);
    const other = answer('{"another": 1024}');
    expect(other.output).toContain('native/cuda/kernels/x.cu: planted is launched by nothing in cuda_traffic_test');
    expect(other.status).toBe(1);
    const failed = answer('{"planted": 4}', 1);
    expect(failed.output).toContain('launches fails or is an old one: FAILED somewhere');
    expect(failed.status).toBe(1);
  });

  it.each([
    ['spills', kernel(manyValues, '__launch_bounds__(1024, 2)'), 'spills registers'],
    [
      'local memory',
      kernel('float v[32] = {};\nfor (int i = 0; i < n; ++i) v[i * 7 & 31] += x[i];\nx[0] = v[n & 31];'),
      'bytes of local memory',
    ],
    ['a kernel without launch bounds', kernel('x[threadIdx.x] *= n;', ''), 'has no __launch_bounds__'],
    ['what ptxas warns of in wgmma', serialized, 'C7519', 'x_sm90.cu'],
    ['what does not compile', 'nonsense', 'nvcc failed'],
  ])('refuses %s', (_, text, words, file = 'x.cu') => {
    write(`kernels/${file}`, text);
    const { status, output } = check({ compiler: true });
    expect(output).toContain(words);
    expect(status).toBe(1);
  });
});
