/** From what a client sent to values that can be trusted, or to a Problem that names every mistake at once. */

import type { NewItem, Page } from "./items";
import { type FieldError, Problem } from "./problem";

const nameCharactersMax = 100;
const quantityMax = 1_000_000;
const pageItemsMax = 100;

export async function readItem(request: Request): Promise<NewItem> {
  const type = (request.headers.get("Content-Type") ?? "").split(";")[0].trim().toLowerCase();
  if (type !== "application/json") throw new Problem(415, "Send the item as application/json.");

  let input: unknown;
  try {
    input = await request.json();
  } catch (error) {
    // Only what cannot be parsed is the client's mistake; a body that broke off is none.
    if (error instanceof SyntaxError) throw new Problem(400, "The body is not JSON.");
    throw error;
  }
  if (typeof input !== "object" || input === null || Array.isArray(input)) {
    throw new Problem(422, "An item is an object.");
  }
  return checkItem(input as Record<string, unknown>);
}

function checkItem(input: Record<string, unknown>): NewItem {
  const { name, quantity = 0, ...unknown } = input;
  const errors: FieldError[] = Object.keys(unknown).map((field) => ({ field, message: "is not known" }));
  const trimmed = typeof name === "string" ? name.trim() : "";
  if (trimmed === "" || [...trimmed].length > nameCharactersMax) {
    errors.push({ field: "name", message: `must be a text of 1 to ${nameCharactersMax} characters` });
  }
  const isQuantity = typeof quantity === "number" && Number.isInteger(quantity) && quantity >= 0 && quantity <= quantityMax;
  if (!isQuantity) {
    errors.push({ field: "quantity", message: `must be a whole number from 0 to ${quantityMax}` });
  }
  if (errors.length > 0) throw new Problem(422, "The item cannot be accepted.", {}, errors);
  return { name: trimmed, quantity: quantity as number };
}

export function readPage(query: URLSearchParams): Page {
  const errors: FieldError[] = [];
  const whole = (field: string, missing: number, least: number, most: number): number => {
    const text = query.get(field) ?? String(missing);
    const value = /^[0-9]{1,15}$/.test(text) ? Number(text) : NaN;
    if (!(value >= least && value <= most)) {
      errors.push({ field, message: `must be a whole number from ${least} to ${most}` });
    }
    return value;
  };
  const page = { limit: whole("limit", 20, 1, pageItemsMax), after: whole("after", 0, 0, Number.MAX_SAFE_INTEGER) };
  if (errors.length > 0) throw new Problem(400, "The query cannot be understood.", {}, errors);
  return page;
}
