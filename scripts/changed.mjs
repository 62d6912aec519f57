// Which checks a change needs first: the short way of `npm test -- --changed`. By folder, the tests that say most about it in the least time; the whole of
// `npm test` stays the judge. test/changed.test.ts holds that every file has a row and every name a test.
import { spawnSync } from 'node:child_process';
import { root } from './paths.mjs';

/**
 * The first row whose pattern fits a file counts. `jest`: test/NAME.test.ts; `native`: programs of test/native, `./NAME` without sanitizers, `sanitized/NAME`; `steps`: of
 * scripts/test.mjs.
 * @type {[RegExp, { jest?: string[], native?: string[], steps?: string[] }][]}
 */
export const rows = [
  [
    /^lib\/image\//,
    { jest: ['image-files', 'image-formats', 'image-pages', 'image-source', 'tile-image', 'own-bytes'] },
  ],
  [/^lib\/tokenizer\//, { jest: ['tokenize', 'tokenizer'] }],
  [/^lib\/prompt\//, { jest: ['prompt', 'messages', 'tiling'] }],
  [/^lib\/options\//, { jest: ['options', 'errors', 'load'] }],
  [/^lib\/engine\//, { jest: ['addon', 'addon-loading', 'devices', 'close', 'stream'] }],
  [/^lib\/model\//, { jest: ['load', 'generate', 'stream', 'cancel', 'close'] }],
  [/^lib\/cli\//, { jest: ['cli'] }],
  [/^lib\/types\//, { jest: ['types', 'options'] }],
  [/^lib\//, { jest: ['types', 'errors'] }],
  [/^examples\//, { jest: ['examples'] }],
  [/^native\/platform\//, { native: ['platform_test', 'threads_test'] }],
  [/^native\/image\//, { native: ['image_test', 'sanitized/cuda_cut_tiles_test'] }],
  [/^native\/ops\//, { native: ['planner_test', 'ops_test', 'backends_test'] }],
  [/^native\/(cpu|reference|host)\//, { native: ['./ops_test', './golden_test'] }],
  [
    /^native\/model\//,
    {
      native: [
        'checkpoint_test',
        'config_test',
        'routing_test',
        'dummy_heads_test',
        './golden_test',
        './checkpoint_mutation_test',
      ],
    },
  ],
  [/^native\/engine\//, { native: ['engine_schedule_test', 'engine_end_test', 'engine_pages_test', 'threads_test'] }],
  [
    /^native\/cuda\//,
    {
      steps: ['kernels'],
      native: [
        './cuda_small_ops_test',
        './cuda_attention_test',
        './cuda_gemm_test',
        './cuda_gemv_test',
        'gemm_plan_test',
        './cuda_traffic_test',
      ],
    },
  ],
  [/^native\/addon\//, { steps: ['symbols'], jest: ['addon', 'close', 'workers'] }],
  [/^test\/native\/emulator\//, { native: ['./emulator_test', './cuda_small_ops_test', './cuda_traffic_test'] }],
  [/^test\/native\/(cases|support)\//, { native: ['./ops_test', 'routing_test'] }],
  [
    /^(CMakeLists\.txt|native\/|test\/native\/[^/]*(\.cmake|CMakeLists\.txt|\.cu)$|test\/native\/gpu\/)/,
    { native: ['platform_test'], jest: ['addon'] },
  ],
  [/^(package(-lock)?\.json|binding\.gyp|THIRD_PARTY\.md|LICENSE)$/, { steps: ['package'] }],
  [/^scripts\/(gpu-check\.sh|.*kernel.*|nvcc\.mjs|fat-binary\.mjs)$/, { jest: ['kernels', 'gpu-check-stages'] }],
  [/^benchmarks\/gpu\//, { jest: ['gpu-check-stages'] }],
  [/^test\/(golden|eval|fixtures)\//, { native: ['./golden_test'], jest: ['golden', 'eval'] }],
  [/^models\//, { jest: ['eval'] }],
  // What the steps that always run look at, and what nothing runs.
  [/^(docs|scripts|benchmarks|test\/support|\.ci)\/|^[^/]*\.(md|json|js)$|^\.|^test\/tsconfig\.json$/, {}],
];
const always = ['typecheck', 'lint', 'format', 'docs', 'layers'];

/** What a file asks for; null where no row fits. A test asks for itself. */
export function checksOf(file) {
  const test = file.match(/^test\/([\w-]+)\.test\.ts$/);
  if (test) return { jest: [test[1]] };
  const program = file.match(/^test\/native\/(\w+_test)\.cc$/);
  if (program) return { native: [program[1]] };
  return rows.find(([pattern]) => pattern.test(file))?.[1] ?? null;
}

/** Steps, tests and programs for what differs from `reference`, commits and files that are not in git yet alike. */
export function changedChecks(reference) {
  const base = reference ?? git('merge-base', 'HEAD', 'main')[0];
  const files = [...git('diff', '--name-only', base, '--'), ...git('ls-files', '--others', '--exclude-standard')];
  const found = files.map(file => checksOf(file) ?? {});
  const all = kind => [...new Set(found.flatMap(checks => checks[kind] ?? []))];
  return { files, steps: new Set([...always, ...all('steps')]), jest: all('jest'), native: all('native') };
}

function git(...args) {
  const { status, stdout, stderr } = spawnSync('git', args, { cwd: root, encoding: 'utf8' });
  if (status !== 0) {
    console.error(
      `test: git ${args.join(' ')} failed: ${stderr.trim()}. Name a commit that is here: npm test -- --changed COMMIT.`,
    );
    process.exit(2);
  }
  return stdout.split('\n').filter(Boolean);
}
