import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["support/global.ts"],
    maxWorkers: 3, // each file has a server and a Postgres of its own
    testTimeout: 90_000,
    hookTimeout: 120_000,
  },
});
