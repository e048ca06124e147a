/** An error body (RFC 9457): what of it is there and can be shown. */
export interface ProblemDocument {
  title?: string;
  detail?: string;
  code?: string;
  request_id?: string;
  errors?: { field?: string; detail?: string }[];
}

/**
 * Reads an answer's problem document. What is missing, blank, of another type or
 * a proxy's page is left out, and all of a body that is no such document: nothing
 * of it may reach a screen.
 */
export async function readProblem(answer: Response): Promise<ProblemDocument> {
  if (!/^application\/problem\+json\b/i.test(answer.headers.get("Content-Type") ?? "")) {
    void answer.body?.cancel();
    return {};
  }
  const body: unknown = await answer.json().catch(() => null);
  if (!isObject(body)) return {};
  const errors = Array.isArray(body["errors"]) ? body["errors"].filter(isObject).map(({ field, detail }) => ({ field: words(field), detail: words(detail) })) : [];
  return {
    title: words(body["title"]), detail: words(body["detail"]), code: words(body["code"]), request_id: words(body["request_id"]),
    errors: errors.filter(({ field, detail }) => field ?? detail),
  };
}

/** Reports whether a value is an object as JSON has them. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const words = (value: unknown): string | undefined =>
  typeof value === "string" && /^\s*[^<\s]/.test(value) ? value : undefined;
