/** Lint rules: type-checked strict rules, and a limit on the length of a line. */
import eslint from '@eslint/js'
import globals from './scripts/globals.mjs'
import tseslint from 'typescript-eslint'

const LIMITS = {
  'max-len': ['error', { code: 120, ignoreUrls: true }],
}

export default tseslint.config(
  {
    ignores: [
      'scripts/package/typed.ts', 'scripts/package/cjs.cjs',
      'dist/', 'build/', 'node_modules/', '.tap/', 'bench/**/*.js', 'bench/**/*.mjs',
      // Compiled by their test, as a project of their own.
      'templates/typescript/',
    ],
  },
  eslint.configs.recommended,
  {
    files: ['**/*.ts', '**/*.tsx'],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/switch-exhaustiveness-check': [
        'error', { considerDefaultExhaustiveForUnions: true },
      ],
      // Numbers in texts are as clear as their conversions.
      '@typescript-eslint/restrict-template-expressions': [
        'error', { allowNumber: true, allowBoolean: true },
      ],
      // Short arrow functions that are called for their effect read best on one line.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
      // Arguments are checked although their types say what they are: callers may write JavaScript.
      '@typescript-eslint/no-unnecessary-condition': 'off',
      // `void | Promise<void>` is what a callback may return.
      '@typescript-eslint/no-invalid-void-type': 'off',
      // Promise.reject and throw pass on what was given: reasons are any value here.
      '@typescript-eslint/prefer-promise-reject-errors': 'off',
      '@typescript-eslint/only-throw-error': 'off',
      // Type parameters that are used once document what a caller may name.
      '@typescript-eslint/no-unnecessary-type-parameters': 'off',
      // Overflows its stack on recursive types, as those of tap.
      '@typescript-eslint/no-unsafe-class-instance-assignment': 'off',
      'no-undef': 'off',
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // Machines can be busy: the limits of all tests grow by one factor.
      'no-restricted-syntax': ['error', {
        selector:
          "CallExpression[callee.property.name='test'] > ObjectExpression > Property[key.name='timeout'] > Literal",
        message: 'A limit of a test is patient(milliseconds).',
      }],
      // Tests say what comes on purpose, and tap's subtests needn't await anything.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-floating-promises': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  { files: ['**/*.js', '**/*.mjs'], languageOptions: { globals } },
  { files: ['**/*.cjs'], languageOptions: { globals: { ...globals, __dirname: 'readonly' } } },
  {
    rules: {
      ...LIMITS,
      eqeqeq: 'error',
      'no-console': 'off',
      'no-var': 'error',
      'prefer-const': 'error',
      semi: ['error', 'never'],
      quotes: ['error', 'single', { avoidEscape: true }],
    },
  },
)
