import { errorTable, NvlmError } from 'nvlm';
import { abortedError, fromNative } from 'nvlm/dist/errors.js';
import { runInNewContext } from 'node:vm';

test('every code has a description and a fix, each one sentence', () => {
  for (const [code, { description, fix }] of Object.entries(errorTable)) {
    expect([code, description]).toEqual([code, expect.stringMatching(/^[A-Z].*\.$/)]);
    expect([code, fix]).toEqual([code, expect.stringMatching(/^[A-Z].*\.$/)]);
  }
});

test('the codes are these, and stay', () => {
  expect(Object.keys(errorTable).toSorted()).toEqual([
    'aborted',
    'addon-not-found',
    'bad-messages',
    'bad-option',
    'closed',
    'corrupt-checkpoint',
    'device-failed',
    'device-unavailable',
    'file-not-found',
    'image-too-large',
    'internal',
    'not-a-checkpoint',
    'not-an-image',
    'out-of-memory',
    'prompt-too-long',
    'stream-used',
    'too-many-images',
    'truncated-image',
    'unknown-model',
    'unsupported-architecture',
    'unsupported-config',
    'unsupported-dtype',
    'wrong-model',
  ]);
});

test('an NvlmError is an Error with name, code, message and cause', () => {
  const cause = new Error('inner');
  const error = new NvlmError('closed', 'It was closed.', { cause });
  expect(error).toBeInstanceOf(Error);
  expect([error.name, error.code, error.message, error.cause]).toEqual([
    'NvlmError',
    'closed',
    'It was closed.',
    cause,
  ]);
  expect(Object.keys(error)).toEqual(['code', 'name'].filter(key => Object.keys(error).includes(key)));
});

test('NvlmError.is works by marker: across copies of the package and across realms', () => {
  jest.resetModules();
  const copy = (require('nvlm/dist/errors.js') as { NvlmError: typeof NvlmError }).NvlmError;
  const foreign = new copy('aborted', 'x');
  expect(foreign instanceof NvlmError).toBe(false);
  expect(NvlmError.is(foreign)).toBe(true);
  const realm: unknown = runInNewContext(
    `Object.assign(new Error('x'), { code: 'closed', [Symbol.for('nvlm.error')]: true })`,
  );
  expect(NvlmError.is(realm)).toBe(true);
  expect(NvlmError.is(realm, 'closed')).toBe(true);
  expect(NvlmError.is(realm, 'aborted')).toBe(false);
});

test.each([[new Error('x')], [{ code: 'closed' }], [null], [undefined], ['closed'], [5]])(
  'NvlmError.is(%p) is false',
  value => {
    expect(NvlmError.is(value)).toBe(false);
  },
);

test('what the addon answers keeps its code; a code we do not know is a fault of ours', () => {
  expect(fromNative({ code: 'corrupt-checkpoint', message: 'm' })).toMatchObject({
    code: 'corrupt-checkpoint',
    message: 'm',
  });
  const unknown = fromNative({ code: 'toString', message: 'm' });
  expect(unknown.code).toBe('internal');
  expect(unknown.message).toContain('toString');
});

test("an abort keeps the signal's reason as cause", () => {
  const reason = new Error('user went away');
  expect(abortedError(reason)).toMatchObject({ code: 'aborted', cause: reason });
});
