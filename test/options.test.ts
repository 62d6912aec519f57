import { checkOptions, withDefaults } from 'nvlm/dist/options/read.js';
import { callOptions, imageOptions, loadOptions, type Option, tileOptions } from 'nvlm/dist/options/table.js';
import { failureOf } from './support/failure';

const rows: [string, Option][] = Object.entries({ ...loadOptions, ...callOptions, ...imageOptions, ...tileOptions });

/** What must not pass for a value of each kind. */
function wrongValues(row: Option): unknown[] {
  switch (row.kind) {
    case 'integer':
      return [row.min - 1, row.max + 1, row.min + 0.5, Number.NaN, '1', null, 1n];
    case 'number':
      return [row.min === Number.MIN_VALUE ? 0 : row.min - 0.001, row.max + 0.001, Number.NaN, '1', null];
    case 'boolean':
      return ['yes', 0, null];
    case 'texts':
      return ['', 5, null, [''], ['a', 5], Array(row.most + 1).fill('a'), 'a'.repeat(row.longest + 1)];
    case 'device':
      return ['gpu', 'cuda:', 'CPU', 0, null];
    case 'function':
      return ['a', null, {}];
    case 'signal':
      return ['a', null, {}];
    case 'other':
      return [];
    default:
      return row satisfies never;
  }
}

test.each(rows)('%s refuses what is outside of its row, by name', async (name, row) => {
  for (const value of wrongValues(row)) {
    const error = await failureOf(() => checkOptions({ [name]: value }, { [name]: row }));
    expect([value, error.code, error.message]).toEqual([
      value,
      'bad-option',
      expect.stringContaining(`options.${name} but received`),
    ]);
  }
});

test.each(rows)('%s takes both ends of its range, and its default where it is left out', (name, row) => {
  if (row.kind === 'integer' || row.kind === 'number') {
    for (const value of [row.min, row.max])
      expect(checkOptions({ [name]: value }, { [name]: row })).toEqual({ [name]: value });
  }
  const { default: value } = row as { default?: unknown };
  expect(checkOptions({}, { [name]: row })).toEqual({ [name]: value });
});

test.each(rows.filter(([, row]) => row.kind === 'other'))('%s passes as it is, null too', (name, row) => {
  expect(checkOptions({ [name]: null }, { [name]: row })).toEqual({ [name]: null });
});

test('a message says the range and what the default is', async () => {
  const refused = (value: object, table: Record<string, Option>): Promise<string> =>
    failureOf(() => checkOptions(value as Record<string, unknown>, table)).then(({ message }) => message);
  expect(await refused({ threads: 0 }, loadOptions)).toBe(
    'Expected an integer between 1 and 1024 for options.threads but received 0. Leave it out for the default (one per core).',
  );
  expect(await refused({ maxImages: 0.5 }, loadOptions)).toContain('Leave it out for the default (8).');
  expect(await refused({ temperature: -1 }, withDefaults(callOptions, { temperature: 0.7 }))).toContain(
    'Leave it out for the default (0.7).',
  );
});
