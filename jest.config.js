// The tests run against what ships: `nvlm` is the built dist/, not lib/, so that worker files and the addon's look-up are the real ones.
/** @type {import('jest').Config} */
module.exports = {
  testEnvironment: 'node',
  roots: ['<rootDir>/test'],
  testMatch: ['**/*.test.ts'],
  moduleNameMapper: {
    '^nvlm$': '<rootDir>/dist/index.js',
    '^nvlm/dist/(.*)$': '<rootDir>/dist/$1',
  },
  modulePathIgnorePatterns: ['<rootDir>/build/'],
  transform: {
    '\\.ts$': [
      '@swc/jest',
      {
        jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
        module: { type: 'commonjs' },
      },
    ],
  },
  transformIgnorePatterns: ['/node_modules/', '<rootDir>/dist/'],
  testTimeout: 60_000,
  // Two cores are the smallest machine the suite must do its work on; every model uses threads of its own.
  maxWorkers: 2,
};
