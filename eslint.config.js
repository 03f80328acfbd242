import js from "@eslint/js";
import tseslint from "typescript-eslint";

/** Clock, randomness, environment, console and process belong to adapter/ and bin/. */
const ambient = [
  "Date",
  "performance",
  "setTimeout",
  "setInterval",
  "setImmediate",
  "console",
  "process",
];

export default tseslint.config(
  { ignores: ["node_modules/", "src/dashboard/web/", ".weir/"] },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  ...tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: {
      parserOptions: {
        projectService: { allowDefaultProject: ["eslint.config.js"] },
        tsconfigRootDir: import.meta.dirname,
      },
    },
    rules: {
      "max-lines-per-function": ["error", { max: 70, skipBlankLines: true, skipComments: true }],
      complexity: ["error", 17],
      "max-depth": ["error", 4],
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      "@typescript-eslint/restrict-template-expressions": [
        "error",
        { allowNumber: true, allowBoolean: true },
      ],
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_" }],
      // It does not see that an await may change a field, and calls live checks unnecessary.
      "@typescript-eslint/no-unnecessary-condition": "off",
      // Options objects of one-line callbacks read better without braces.
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
    },
  },
  {
    files: ["src/**/*.ts"],
    ignores: [
      "src/adapter/**",
      "src/bin/**",
      "src/boot/**",
      "src/dashboard/**",
      "src/**/*.test.ts",
    ],
    rules: {
      "no-restricted-globals": ["error", ...ambient],
      "no-restricted-properties": ["error", { object: "Math", property: "random" }],
    },
  },
  {
    files: ["**/*.test.ts", "tests/**", "bench/**", "models/**"],
    rules: {
      "max-lines-per-function": "off",
      // node:test's test() returns a promise that the runner itself awaits.
      "@typescript-eslint/no-floating-promises": [
        "error",
        {
          allowForKnownSafeCalls: [
            { from: "package", package: "node:test", name: ["test", "describe", "it", "suite"] },
          ],
        },
      ],
      "@typescript-eslint/no-non-null-assertion": "off",
    },
  },
  { files: ["**/*.js"], extends: [tseslint.configs.disableTypeChecked] },
);
