// Static gates for the CUDA kernels: rules of their sources, and what the compiler makes of each for each architecture, as one table.
//   node scripts/check-kernels.mjs [FOLDER] [--jobs N] [--json FILE] [--library FILE] [--shared PROGRAM]
// FOLDER: a folder like native/ (default); its cuda/ is checked. FILE of --library: a built library whose content is checked against FOLDER, instead of those that are
// built in this tree. PROGRAM: what tells the shared memory of kernels, instead of this tree's cuda_traffic_test.
// A build with tests keeps what its compiler said (out/kernels); files that it did not compile as they are now are compiled here, a minute or two for all. Without nvcc the sources alone are checked.
// NVLM_CUDA_ARCHS="80 90" leaves other architectures out.
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fatBinaries } from './fat-binary.mjs';
import {
  compilerVersion,
  filesOf,
  includesSm90,
  KernelReports,
  listedArchitectures,
  sm90Header,
} from './kernel-report.mjs';
import { addonFile, inRoot, nativeTests, releaseTree } from './paths.mjs';

const options = { jobs: os.availableParallelism(), json: null, native: inRoot('native'), library: null, shared: null };
const words = process.argv.slice(2);
while (words.length > 0) {
  const word = words.shift();
  if (word === '--jobs') options.jobs = Number(words.shift());
  else if (word === '--json') options.json = path.resolve(words.shift());
  else if (word === '--library') options.library = path.resolve(words.shift());
  else if (word === '--shared') options.shared = path.resolve(words.shift());
  else options.native = path.resolve(word);
}
const cuda = path.join(options.native, 'cuda');
const ours = options.native === inRoot('native');
const kernelReports = new KernelReports(
  options.native,
  ours ? inRoot('out', 'kernels') : path.join(options.native, '.kernels'),
);
const { cache } = kernelReports;

const libraryLimit = 12 * 2 ** 20;
const registersOfABlock = 65536;

const findings = checkSources();
const version = compilerVersion();
if (!version) {
  console.log(
    'skipped: registers, spills, stack and sizes of kernels, since nvcc was not found. Sources were checked.',
  );
} else {
  await checkKernels(version);
}
checkLibrary();
for (const finding of findings) console.log(finding);
console.log(`kernels: ${findings.length === 0 ? 'ok' : `${findings.length} findings`}`);
if (findings.length > 0) process.exitCode = 1;

// ---- Sources ----

/** The text with comments (and, unless wanted, strings) blanked, so that line numbers stay. */
function code(text, keepStrings) {
  return text.replaceAll(/\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:[^"\\\n]|\\.)*"/g, found => {
    if (found.startsWith('"') && keepStrings) return found;
    return found.replaceAll(/[^\n]/g, ' ');
  });
}

function checkSources() {
  const found = [];
  for (const file of filesOf(cuda)) {
    const text = fs.readFileSync(path.join(cuda, file), 'utf8');
    const bare = code(text, false);
    const say = (at, sentence) =>
      found.push(`native/cuda/${file}:${text.slice(0, at).split('\n').length}: ${sentence}`);
    const refuse = (pattern, sentence, from = bare) => {
      for (const match of from.matchAll(pattern)) say(match.index, sentence);
    };
    const onDevice = /\.(cu|cuh)$/.test(file) || file.startsWith('ptx/');

    refuse(/<<</g, 'a launch with <<<>>>, which the emulator can not see; use gpu::launch');
    refuse(
      /\bcooperative_groups\b|\bcub\b|\bthrust\b/g,
      'cooperative groups, CUB and thrust are not used: the emulator does not have them',
      code(text, true),
    );
    refuse(
      /\b__(shfl|shfl_up|shfl_down|shfl_xor|ballot|any|all)\(|\b__activemask\b/g,
      'a warp operation without an explicit mask',
    );
    if (file !== 'gpu.h') {
      refuse(
        /^[ \t]*#[ \t]*include[ \t]*[<"](?:cuda(?:_\w+)?(?:\.h|\/std)|cuda\w*\.h|cu\w+\.h|mma\.h|nv\/|crt\/|device_\w+|driver_types|vector_\w+|sm_\d+)/gm,
        "a header of CUDA's; gpu.h alone includes those",
        code(text, true),
      );
    }
    if (onDevice) refuse(/(?<!\basm\s+)\bvolatile\b/g, 'volatile memory; order comes from ptx/ wrappers');
    if (
      file.endsWith('.cu') &&
      !includesSm90(text) &&
      kernelReports.inputsOf(path.join(cuda, file)).has(path.join(cuda, sm90Header))
    )
      say(
        0,
        `${sm90Header} is reached through another file only; a file with dependent launches includes it itself, or it is not compiled for them`,
      );
    if (file.startsWith('ptx/')) checkWrappers(code(text, true), say);
    else refuse(/\b(?:asm|__asm__|__asm)\b/g, 'PTX outside native/cuda/ptx/');
  }
  return found;
}

/** Instructions that compute from registers alone. All others touch memory or order, and so must stand where they were written. */
function isArithmetic(instruction) {
  return /^(cvt|cvta|ex2|lg2|rcp|rsqrt|sqrt|sin|cos|tanh|fma|mad|add|sub|mul|neg|abs|min|max|mov|prmt|lop3|and|or|xor|not|shf|shl|shr|bfe|bfi|selp|setp|dp4a)\b/.test(
    instruction,
  );
}

function checkWrappers(text, say) {
  for (const match of text.matchAll(/\basm\b(\s+volatile)?\s*\(/g)) {
    let depth = 1;
    let end = match.index + match[0].length;
    for (; depth > 0 && end < text.length; end += 1) depth += text[end] === '(' ? 1 : text[end] === ')' ? -1 : 0;
    const body = text.slice(match.index + match[0].length, end);
    const instructions = [...body.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(part => part[1]);
    const first = (instructions[0] ?? '').replace(/^[{\s]*(\.reg[^;]*;\s*)*(@!?%?\w+\s+)?/, '');
    const name = first.split(/[\s;]/)[0];
    if (isArithmetic(name)) continue;
    if (!match[1]) say(match.index, `${name} is not asm volatile, though it touches memory, order or other lanes`);
    if (!name.startsWith('mma.') && !instructions.includes('memory'))
      say(match.index, `${name} has no "memory" clobber`);
  }
}

// ---- What the compiler makes of them ----

async function checkKernels(compiler) {
  const files = filesOf(cuda).filter(file => file.endsWith('.cu'));
  fs.mkdirSync(cache, { recursive: true });
  const results = [];
  const queue = [...files];
  const started = performance.now();
  let compiled = 0;
  const work = async () => {
    for (let file = queue.shift(); file; file = queue.shift()) {
      const { result, fresh } = await kernelReports.of(file, compiler);
      results.push(result);
      compiled += fresh ? 1 : 0;
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, options.jobs) }, work));
  results.sort((a, b) => (a.file < b.file ? -1 : 1));

  for (const { file, messages } of results)
    for (const message of messages) findings.push(`native/cuda/${file}: ${message}`);
  const kernels = results.flatMap(({ file, kernels: rows }) => rows.map(row => ({ file, ...row })));
  for (const kernel of kernels) judge(kernel);
  addDynamicShared(kernels);
  checkPlan(kernels);
  const bytes = results.reduce((sum, result) => sum + result.bytes, 0);
  if (bytes > libraryLimit)
    findings.push(`the kernels take ${mib(bytes)}, compressed; at most ${mib(libraryLimit)} are allowed`);
  print(kernels);
  console.log(
    `${new Set(kernels.map(kernel => kernel.name)).size} kernels, ${mib(bytes)} compressed; ${compiled} of ${files.length} files compiled in ${((performance.now() - started) / 1000).toFixed(0)} s`,
  );
  if (options.json)
    fs.writeFileSync(
      options.json,
      `${JSON.stringify({ compiler: compiler.trim().split('\n').at(-1), bytes, kernels }, null, 2)}\n`,
    );
}

/** Of one kernel on one architecture: whether it may be as it is. */
function judge({ file, name, architecture, threads, registers, spillStores, spillLoads, stack }) {
  const say = sentence => findings.push(`native/cuda/${file}: ${name} on ${architecture}: ${sentence}`);
  if (spillStores + spillLoads > 0) say(`spills registers, ${spillStores} bytes stored and ${spillLoads} loaded`);
  if (stack > 0) say(`has ${stack} bytes of local memory`);
  if (!threads) say('has no __launch_bounds__');
  // Registers are dealt out to warps eight a thread.
  const taken = Math.ceil(registers / 8) * 8 * threads;
  if (taken > registersOfABlock) say(`${registers} registers for ${threads} threads are more than a block can have`);
}

/**
 * The compiler knows static shared memory alone. The most that launches ask for beside it is what cuda_traffic_test saw in the emulator, which launches every
 * kernel at its largest and holds it to what a block can have on the smallest GPU. Null where the program is not built here.
 */
function addDynamicShared(kernels) {
  const program = options.shared ?? (ours ? path.join(nativeTests, 'cuda_traffic_test') : null);
  const seen = program && fs.existsSync(program) ? dynamicShared(program) : null;
  if (!seen)
    console.log('skipped: dynamic shared memory, a dash below, since cuda_traffic_test is not built here or fails.');
  for (const kernel of kernels) kernel.dynamicShared = seen?.[kernel.name] ?? null;
  if (!seen) return;
  for (const [name, [{ file, dynamicShared: bytes }]] of groupByName(kernels))
    if (bytes === null)
      findings.push(`native/cuda/${file}: ${name} is launched by nothing in cuda_traffic_test, as it is built here`);
}

/** By kernel; kept as long as the program stays the same. */
function dynamicShared(program) {
  const { size, mtimeMs } = fs.statSync(program);
  const kept = path.join(cache, `shared-${size}-${Math.floor(mtimeMs)}.json`);
  if (fs.existsSync(kept)) return JSON.parse(fs.readFileSync(kept, 'utf8'));
  const fresh = path.join(cache, 'shared-fresh.json');
  fs.rmSync(fresh, { force: true });
  const done = spawnSync(program, ['--json', fresh], { encoding: 'utf8', maxBuffer: 1 << 28 });
  if (done.status !== 0 || !fs.existsSync(fresh)) {
    const why =
      done.stdout?.split('\n').find(line => line.startsWith('FAILED')) ??
      done.error?.message ??
      `exit code ${done.status}`;
    findings.push(`${path.basename(program)} fails or is an old one: ${why}`);
    return null;
  }
  for (const old of fs.readdirSync(cache)) if (/^shared-\d/.test(old)) fs.rmSync(path.join(cache, old));
  fs.renameSync(fresh, kept);
  return JSON.parse(fs.readFileSync(kept, 'utf8'));
}

/** The planner counts resident blocks by the registers in its table: they are to be the compiler's most, rounded up as they are dealt out. */
function checkPlan(kernels) {
  const plan = path.join(cuda, 'gemm_plan.cc');
  if (!fs.existsSync(plan) || process.env.NVLM_CUDA_ARCHS) return;
  for (const [, name, tile, registers] of fs
    .readFileSync(plan, 'utf8')
    .matchAll(/\bsm80\("(\w+)", kSm80_(\w+), (\d+)/g)) {
    const rows = kernels.filter(kernel => kernel.name.includes(`Sm80_${tile}>`));
    const most = Math.ceil(Math.max(0, ...rows.map(row => row.registers)) / 8) * 8;
    if (most !== Number(registers))
      findings.push(
        `native/cuda/gemm_plan.cc: ${name} is planned with ${registers} registers, but the compiler takes ${most}`,
      );
  }
}

/** One line a kernel: registers and kilobytes of code on each architecture. */
function print(kernels) {
  const architectures = [...new Set(kernels.map(kernel => kernel.architecture))].toSorted(
    (a, b) => Number.parseInt(a.slice(3), 10) - Number.parseInt(b.slice(3), 10),
  );
  const byName = groupByName(kernels);
  console.log(
    `registers / kilobytes of code; shared memory (the most that a launch asks for), spills and local memory in bytes`,
  );
  console.log(
    [`${'kernel'.padEnd(64)} threads`, ...architectures.map(name => name.padStart(10)), 'shared  spill  local'].join(
      ' ',
    ),
  );
  for (const [name, rows] of byName) {
    const most = of => Math.max(...rows.map(of));
    const cells = architectures.map(architecture => {
      const row = rows.find(r => r.architecture === architecture);
      return (row ? `${row.registers} / ${(row.bytes / 1024).toFixed(1)}` : '').padStart(10);
    });
    const dynamic = rows[0].dynamicShared;
    const tail = [
      dynamic === null ? '-' : most(r => r.shared) + dynamic,
      most(r => r.spillStores + r.spillLoads),
      most(r => r.stack),
    ]
      .map(n => String(n).padStart(6))
      .join(' ');
    console.log(`${name.slice(0, 64).padEnd(64)} ${String(rows[0].threads).padStart(7)} ${cells.join(' ')} ${tail}`);
  }
  const sums = architectures.map(architecture =>
    kernels.filter(k => k.architecture === architecture).reduce((sum, k) => sum + k.bytes, 0),
  );
  console.log(`${'all'.padEnd(72)} ${sums.map(sum => `${(sum / 1024).toFixed(0)} KB`.padStart(10)).join(' ')}`);
}

function groupByName(kernels) {
  const groups = new Map();
  for (const kernel of kernels) groups.set(kernel.name, [...(groups.get(kernel.name) ?? []), kernel]);
  return groups;
}

// ---- The library ----

function checkLibrary() {
  const places = options.library
    ? [options.library]
    : ours
      ? [
          path.join(releaseTree, 'native', 'cuda', 'nvlm_cuda.so'),
          path.join(releaseTree, 'Release', 'nvlm_cuda.so'),
          path.join(path.dirname(addonFile), 'nvlm_cuda.so'),
        ]
      : [];
  const libraries = places.filter(file => fs.existsSync(file));
  if (libraries.length === 0) {
    if (places.length > 0) console.log('skipped: size and content of nvlm_cuda.so, which is not built here.');
    return;
  }
  for (const file of libraries) {
    const name = path.relative(inRoot(), file);
    const { size } = fs.statSync(file);
    console.log(`${name}: ${mib(size)}`);
    if (size > libraryLimit) findings.push(`${name} has ${mib(size)}; at most ${mib(libraryLimit)} are allowed`);
    if (!process.env.NVLM_CUDA_ARCHS) checkContent(file, sentence => findings.push(`${name} ${sentence}`));
  }
  if (process.env.NVLM_CUDA_ARCHS)
    console.log('skipped: what nvlm_cuda.so holds, since NVLM_CUDA_ARCHS leaves architectures out.');
}

/** Code for every architecture and PTX for newer ones, of every file: as native/cuda/CMakeLists.txt asks for, whatever came out of the build. */
function checkContent(library, say) {
  const binaries = fatBinaries(library);
  if (!binaries) {
    say('holds no kernels');
    return;
  }
  const files = filesOf(cuda).filter(file => file.endsWith('.cu'));
  const hopper = files.filter(file => file.endsWith('_sm90.cu'));
  const dependent = files.filter(
    file => !hopper.includes(file) && includesSm90(fs.readFileSync(path.join(cuda, file), 'utf8')),
  );
  const always = ['compute_80', ...listedArchitectures.map(architecture => `sm_${architecture}`)];
  if (binaries.length !== files.length)
    say(`holds the kernels of ${binaries.length} files, but there are ${files.length} here; build it again`);
  const count = held => binaries.filter(entries => entries.includes(held)).length;
  for (const held of always) {
    const expected = held === 'sm_90' ? files.length : files.length - hopper.length;
    if (count(held) !== expected) say(`holds ${held} of ${count(held)} files instead of ${expected}`);
  }
  if (count('compute_90') !== dependent.length)
    say(`holds compute_90 of ${count('compute_90')} files, but ${dependent.length} include ${sm90Header}`);
  const more = new Set(binaries.flat().filter(held => held !== 'compute_90' && !always.includes(held)));
  for (const held of more) say(`holds ${held}, which nothing asks for`);
}

function mib(bytes) {
  return `${(bytes / 2 ** 20).toFixed(2)} MiB`;
}
