import { defineConfig } from "vitest/config";

export default defineConfig({
  base: "./", // the page's <base> says where the console is
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    target: "es2022",
    cssTarget: ["chrome123", "firefox120", "safari17.5"], // the first that know light-dark()
    assetsInlineLimit: 0, // the policy allows no data: URLs
    modulePreload: { polyfill: false },
    cssCodeSplit: true,
    reportCompressedSize: true,
  },
  test: { include: ["test/**/*.test.ts"], environment: "node" },
});
