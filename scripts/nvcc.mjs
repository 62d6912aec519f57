// Stands before nvcc in a build with tests (CMAKE_CUDA_COMPILER_LAUNCHER): the kernels of native/cuda are compiled as they would be, and what the compiler
// says of them is kept for scripts/check-kernels.mjs, which then need not compile them once more.
//   node scripts/nvcc.mjs NVCC ARGUMENT…
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { compilerVersion, KernelReports } from './kernel-report.mjs';
import { inRoot } from './paths.mjs';

const [nvcc, ...args] = process.argv.slice(2);
const reports = new KernelReports(inRoot('native'), inRoot('out', 'kernels'));
const source = args.find((word, i) => word.endsWith('.cu') && args[i - 1] !== '-o' && !word.startsWith('-'));
const file = source && path.relative(reports.cuda, path.resolve(source));
// Other files, a link, or flags that are not the library's: none of ours to report on.
const ours = file && !file.startsWith('..') && reports.flags(file).every(flag => args.includes(flag));
if (ours) {
  const { log, failed } = await reports.compile(nvcc, args, file, compilerVersion(nvcc));
  if (failed) process.stderr.write(log);
  process.exitCode = failed ? 1 : 0;
} else {
  process.exitCode = spawnSync(nvcc, args, { stdio: 'inherit' }).status ?? 1;
}
