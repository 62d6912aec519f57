// What nvcc and ptxas say of each kernel, kept in a folder: by the library's own build (scripts/nvcc.mjs), or by scripts/check-kernels.mjs.
import { execFile, execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { inRoot } from './paths.mjs';

/** Of what is kept: another number forgets all results. */
const resultForm = 1;
export const sm90Header = 'ptx/sm90.h';
export const listedArchitectures = fs
  .readFileSync(inRoot('native', 'cuda', 'CMakeLists.txt'), 'utf8')
  .match(/set\(NVLM_CUDA_ARCHS ([\d ]+)/)[1]
  .trim()
  .split(/\s+/);

export function filesOf(folder) {
  return /** @type {string[]} */ (fs.readdirSync(folder, { recursive: true }))
    .filter(file => /\.(cu|cuh|cc|h)$/.test(file))
    .toSorted();
}

/** The rule of native/cuda/CMakeLists.txt: which files are compiled to compute_90 PTX as well. */
export function includesSm90(text) {
  return text.split('\n').includes(`#include "cuda/${sm90Header}"`);
}

export function compilerVersion(nvcc = 'nvcc') {
  const { error, stdout } = spawnSync(nvcc, ['--version'], { encoding: 'utf8' });
  return error ? null : stdout;
}

/** The reports on the kernels of a folder like native/; `cache` is where they are kept. */
export class KernelReports {
  constructor(native, cache) {
    this.native = native;
    this.cuda = path.join(native, 'cuda');
    this.cache = cache;
  }

  /** The report on a file in cuda/, which is compiled unless one is kept that fits. `compiler`: its version. */
  async of(file, compiler) {
    const kept = this.#place(file, compiler);
    if (fs.existsSync(kept)) return { result: JSON.parse(fs.readFileSync(kept, 'utf8')), fresh: false };
    const args = [...this.flags(file), '-I', this.native, '-fatbin', path.join(this.cuda, file), '-o'];
    const { result } = await this.compile('nvcc', args, file, compiler);
    return { result, fresh: true };
  }

  /**
   * Runs nvcc on a file in cuda/ and keeps its report. `args` with `-o` last get an output that nobody keeps.
   * @param {string} nvcc
   * @param {string[]} args
   * @param {string} file
   * @param {string} compiler its version
   */
  async compile(nvcc, args, file, compiler) {
    fs.mkdirSync(this.cache, { recursive: true });
    const folder = fs.mkdtempSync(path.join(this.cache, 'compile-'));
    try {
      const output = args.at(-1) === '-o' ? [path.join(folder, 'output')] : [];
      const done = await promisify(execFile)(nvcc, [...args, ...output, '--keep', '--keep-dir', folder], {
        encoding: 'utf8',
        maxBuffer: 1 << 28,
      }).catch(error => ({ ...error, failed: true }));
      const log = `${done.stdout ?? ''}${done.stderr ?? ''}`;
      const messages = log
        .split('\n')
        .filter(line => /\bC75(0[89]|1\d|20)\b|\bwarning\b|\berror\b|\bfatal\b/i.test(line));
      if (done.failed)
        return { log, result: { file, messages: [...messages, 'nvcc failed'], kernels: [], bytes: 0 }, failed: true };
      const fatbin = fs.readdirSync(folder).find(name => name.endsWith('.fatbin')) ?? 'output';
      const result = {
        file,
        messages,
        kernels: rowsOf(log, folder),
        bytes: fs.statSync(path.join(folder, fatbin)).size,
      };
      const kept = this.#place(file, compiler);
      for (const old of fs.readdirSync(this.cache))
        if (old.startsWith(`${stemOf(file)}-`)) fs.rmSync(path.join(this.cache, old));
      fs.writeFileSync(kept, JSON.stringify(result));
      return { log, result, failed: false };
    } finally {
      fs.rmSync(folder, { recursive: true, force: true });
    }
  }

  /** By the file, each header of ours that it includes, the flags and the compiler. */
  #place(file, compiler) {
    const hash = createHash('sha256').update(compiler).update(this.flags(file).join('\0')).update(`form ${resultForm}`);
    for (const input of this.inputsOf(path.join(this.cuda, file)))
      hash.update(path.relative(this.native, input)).update('\0').update(fs.readFileSync(input)).update('\0');
    return path.join(this.cache, `${stemOf(file)}-${hash.digest('hex').slice(0, 24)}.json`);
  }

  /** The flags of native/cuda/CMakeLists.txt. */
  flags(file) {
    const architectures = process.env.NVLM_CUDA_ARCHS
      ? process.env.NVLM_CUDA_ARCHS.trim().split(/[\s,;]+/)
      : listedArchitectures;
    const from = (ptx, list) =>
      `-gencode=arch=compute_${ptx},code=[${[`compute_${ptx}`, ...list.map(number => `sm_${number}`)].join(',')}]`;
    const newer = architectures.filter(number => Number(number) >= 90);
    const older = architectures.filter(number => Number(number) < 90);
    const targets = () => {
      if (file.endsWith('_sm90.cu')) return ['-gencode=arch=compute_90a,code=sm_90a'];
      if (newer.length === 0 || !includesSm90(fs.readFileSync(path.join(this.cuda, file), 'utf8')))
        return [from(80, architectures)];
      return [from(80, older), from(90, newer)];
    };
    return [
      '-std=c++20',
      ...targets(),
      '--compress-mode=size',
      '-Xptxas=-v,-warn-spills,-warn-lmem-usage',
      '-Xcompiler=-fPIC,-fvisibility=hidden',
    ];
  }

  /** The file and every header of ours that it reaches. */
  inputsOf(file, seen = new Set()) {
    if (seen.has(file) || !fs.existsSync(file)) return seen;
    seen.add(file);
    for (const match of fs.readFileSync(file, 'utf8').matchAll(/^[ \t]*#[ \t]*include[ \t]+"([^"]+)"/gm))
      this.inputsOf(path.join(this.native, match[1]), seen);
    return seen;
  }
}

function stemOf(file) {
  return file.replaceAll(/[/\\]/g, '+');
}

/** ptxas's words of each kernel and architecture, with threads from the PTX and the size of its code from the cubin. */
function rowsOf(log, folder) {
  const threads = new Map();
  const sizes = new Map();
  for (const kept of fs.readdirSync(folder)) {
    const file = path.join(folder, kept);
    if (kept.endsWith('.ptx')) {
      for (const entry of fs.readFileSync(file, 'utf8').matchAll(/\.entry (\w+)\([\s\S]*?\)\s*((?:\.[^\n]*\n)*)/g)) {
        const bounds = entry[2].match(/\.(?:maxntid|reqntid) (\d+)(?:, (\d+))?(?:, (\d+))?/);
        if (bounds) threads.set(entry[1], Number(bounds[1]) * Number(bounds[2] ?? 1) * Number(bounds[3] ?? 1));
      }
    } else if (kept.endsWith('.cubin')) {
      // With one target, nvcc leaves it out of the name.
      const architecture = kept.match(/\.(sm_\w+)\.cubin$/)?.[1] ?? log.match(/ for '(sm_\w+)'/)?.[1];
      const sections = spawnSync('readelf', ['-SW', file], { encoding: 'utf8' }).stdout;
      for (const section of sections.matchAll(/ \.text\.(\w+) +PROGBITS +\w+ +\w+ +(\w+)/g))
        sizes.set(`${architecture} ${section[1]}`, Number.parseInt(section[2], 16));
    }
  }
  const rows = [];
  for (const part of log.split(/Compiling entry function /).slice(1)) {
    const [, symbol, architecture] = part.match(/^'(\w+)' for '(\w+)'/);
    const number = pattern => Number(part.match(pattern)?.[1] ?? 0);
    rows.push({
      symbol,
      architecture,
      threads: threads.get(symbol) ?? 0,
      registers: number(/Used (\d+) registers/),
      shared: number(/(\d+) bytes smem/),
      stack: number(/(\d+) bytes stack frame/),
      spillStores: number(/(\d+) bytes spill stores/),
      spillLoads: number(/(\d+) bytes spill loads/),
      bytes: sizes.get(`${architecture} ${symbol}`) ?? 0,
    });
  }
  const names = demangled(rows.map(row => row.symbol));
  return rows.map(({ symbol, ...row }) => ({ name: names.get(symbol), ...row }));
}

function demangled(symbols) {
  const unique = [...new Set(symbols)];
  if (unique.length === 0) return new Map();
  const lines = execFileSync('c++filt', { input: unique.join('\n'), encoding: 'utf8' }).split('\n');
  const short = line =>
    line
      .replace(/^void /, '')
      .replaceAll('(anonymous namespace)::', '')
      .replaceAll('nvlm::gpu::', '')
      .replace(/\([^()]*\)$/, '');
  return new Map(unique.map((symbol, i) => [symbol, short(lines[i])]));
}
