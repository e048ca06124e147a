/** The fields of an error body (RFC 9457) that can be shown. */
export interface ProblemDocument {
  title?: string;
  detail?: string;
  code?: string;
  request_id?: string;
  errors?: { field?: string; detail?: string }[];
}

/**
 * Reads the problem document of an answer. It omits fields that are missing, blank or of
 * another type, and everything of a body that is not such a document, such as a proxy's
 * page, so that none of it reaches a screen.
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

/** Reports whether a value is a JSON object. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const words = (value: unknown): string | undefined =>
  typeof value === "string" && /^\s*[^<\s]/.test(value) ? value : undefined;
