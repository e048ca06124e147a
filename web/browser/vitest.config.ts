import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: ["support/global.ts"],
    fileParallelism: false, // they share a database server, and one of them restarts it
    testTimeout: 30_000,
    hookTimeout: 60_000,
  },
});
