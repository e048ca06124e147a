import { readdirSync, readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";

// The server's own description of its frames.
const directory = new URL("../../../../httpapi/contract/schemas/", import.meta.url);

const ajv = new Ajv2020({ strictTypes: false });
for (const file of readdirSync(directory)) ajv.addSchema(JSON.parse(readFileSync(new URL(file, directory), "utf8")));

/** Checks a frame of the server. */
export const isFrame = ajv.getSchema("frame.json")!;
