import { describe, expect, it } from "vitest";
import { claimsOf, sessionOf } from "../src/session.js";

const token = (claims: unknown): string => {
  const part = (value: unknown): string => {
    const bytes = new TextEncoder().encode(JSON.stringify(value));
    return btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  };
  return `${part({ alg: "HS256" })}.${part(claims)}.c2lnbmF0dXJl`;
};

describe("a token", () => {
  it("names the user of the session", () => {
    expect(sessionOf(` ${token({ sub: "jürgen ✓", role: "admin", exp: 2e9 })}\n`)).toMatchObject({ user: "jürgen ✓", admin: true, expires: 2e12 });
  });
  it("has the groups that the token lists", () => {
    expect(sessionOf(token({ sub: "a", feeds: ["team", "a", 7] }))!.groups).toEqual(["team"]);
    for (const feeds of [undefined, "team", {}]) expect(sessionOf(token({ sub: "a", feeds }))!.groups).toEqual([]);
  });
  it("does not make an admin by any other role", () => {
    for (const role of ["Admin", ["admin"], true, undefined]) expect(sessionOf(token({ sub: "a", role }))!.admin).toBe(false);
  });
  it("may have no expiry time", () => expect(sessionOf(token({ sub: "a" }))!.expires).toBe(Infinity));

  it.each([["", null], ["a.b", null], ["a.b.c.d", null], ["x.!!.y", null], [token([1]), null], [token("x"), null], [token(null), null]])(
    "is invalid: %s", (text, want) => expect(claimsOf(text)).toBe(want));
  it.each([[{}], [{ sub: "" }], [{ sub: 7 }]])("without a subject opens no session: %j", (claims) => expect(sessionOf(token(claims))).toBeNull());
});
