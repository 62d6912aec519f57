// Writes docs/errors.md from the table of error codes, and the option tables of docs/api.md from the table of options (both as built in
// dist/). `--check` only says whether the files are up to date.
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { inRoot } from './paths.mjs';

const require = createRequire(import.meta.url);
const { errorTable } = require('../dist/errors.js');
const { callOptions, imageOptions, loadOptions, tileOptions } = require('../dist/options/table.js');

const pages = {
  'docs/errors.md': () => errorPage(),
  'docs/api.md': old =>
    [
      ['load', loadOptions],
      ['generate', callOptions],
      ['image', imageOptions],
      ['tileImage', tileOptions],
    ].reduce((text, [name, rows]) => withTable(text, name, rows), old),
};

for (const [page, make] of Object.entries(pages)) {
  const old = readFileSync(inRoot(page), 'utf8');
  const made = make(old);
  if (made === old) continue;
  if (process.argv.includes('--check')) {
    console.error(`${page} is out of date: run \`npm run docs\`.`);
    process.exitCode = 1;
  } else {
    writeFileSync(inRoot(page), made);
  }
}

function errorPage() {
  const rows = Object.entries(errorTable).map(
    ([code, { description, fix }]) => `| \`${code}\` | ${description} | ${fix} |`,
  );
  return `# Which errors can I get?

Every failure is an \`NvlmError\` with a \`code\` from this table; match the code, or test with \`NvlmError.is(error)\`, rather than with
\`instanceof\`, which fails across copies of the package and realms. \`error.message\` names the thing, the limit and the fix; \`error.cause\` is kept.

| code | when | what to do |
| --- | --- | --- |
${rows.join('\n')}

This page is generated from \`lib/errors.ts\` by \`npm run docs\`.
`;
}

/** Puts a table in the place that two comments of the page mark. */
function withTable(page, name, rows) {
  const [begin, end] = [`<!-- options of ${name}: made by npm run docs -->\n`, '<!-- end -->'];
  const from = page.indexOf(begin) + begin.length;
  const to = page.indexOf(end, from);
  if (from < begin.length || to < 0) throw new Error(`docs/api.md has no place for the options of ${name}.`);
  const lines = Object.entries(rows).map(
    ([key, row]) => `| \`${key}\` | ${defaultOf(row)} | ${rangeOf(row)} | ${row.text} |`,
  );
  const table = ['| option | default | range | |', '| --- | --- | --- | --- |', ...lines].join('\n');
  return `${page.slice(0, from)}\n${table}\n\n${page.slice(to)}`;
}

function defaultOf({ kind, default: value, fallback, checkpoint }) {
  if (fallback) return fallback;
  if (value === undefined) return '–';
  if (checkpoint) return `the checkpoint's \`${checkpoint}\`, else ${value}`;
  return kind === 'integer' || kind === 'number' ? plain(value) : `\`${JSON.stringify(value).replaceAll('"', "'")}\``;
}

function rangeOf({ kind, min, max, most, longest }) {
  if (kind === 'texts') return `at most ${most} of 1 to ${longest} characters`;
  if (min === undefined) return '';
  return `${min === Number.MIN_VALUE ? 'above 0' : plain(min)} to ${plain(max)}`;
}

/** A number as a person would write it. */
function plain(number) {
  if (number === Number.MAX_SAFE_INTEGER) return '2<sup>53</sup> − 1';
  if (number >= 1e8) return `1e${Math.log10(number)}`;
  return String(number).replace('-', '−');
}
