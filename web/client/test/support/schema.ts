import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";

/** Reads a JSON file beside this one. */
export const json = (path: string): any => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8"));

/** Checks a frame against frames.schema.json. */
export const isFrame = new Ajv2020({ strictTypes: false }).compile(json("../../frames.schema.json"));
