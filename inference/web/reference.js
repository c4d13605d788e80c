// Writes the OpenAPI description of this server as a page, with a field to try each endpoint.
"use strict";

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

let schemas = {};
const nameOf = (schema) => schema.$ref?.split("/").at(-1);
const resolve = (schema) => (schema.$ref ? schemas[nameOf(schema)] : schema);

/** A schema's type in words, with its bounds. */
function kind(schema) {
  if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
  if (schema.enum) return schema.enum.join(", ");
  if (schema.$ref) return nameOf(schema);
  const bounds = [
    schema.minItems && `at least ${schema.minItems}`, schema.maxItems && `at most ${schema.maxItems}`,
    schema.minLength && `at least ${schema.minLength} characters`, schema.maxLength && `at most ${schema.maxLength} characters`,
  ].filter(Boolean).join(", ");
  const of = schema.items ? ` of ${kind(schema.items)}` : "";
  const values = typeof schema.additionalProperties === "object" ? ` of ${kind(schema.additionalProperties)}` : "";
  return `${schema.type ?? "any"}${of}${values}${bounds ? ` (${bounds})` : ""}`;
}

/** The schemas that a schema is made of, itself first. */
function parts(schema, found = new Map()) {
  const name = nameOf(schema);
  if (name && !found.has(name)) {
    found.set(name, resolve(schema));
    Object.values(resolve(schema).properties ?? {}).forEach((field) => parts(field, found));
  }
  [schema.items, schema.additionalProperties, ...(schema.anyOf ?? [])].forEach((part) => part && typeof part === "object" && parts(part, found));
  return found;
}

function tables(schema) {
  return [...parts(schema)].flatMap(([name, part]) => {
    const rows = Object.entries(part.properties ?? {}).map(([field, of]) => make("tr", "",
      make("td", "", field), make("td", "", kind(of) + ((part.required ?? []).includes(field) ? "" : ", optional")), make("td", "", of.description ?? "")));
    const head = make("tr", "", ...["field", "type", "meaning"].map((text) => make("th", "", text)));
    return [make("h3", "", `${name}: ${part.description ?? ""}`), make("div", "scroll", make("table", "", make("thead", "", head), make("tbody", "", ...rows)))];
  });
}

function tryOut(path, example) {
  const field = make("textarea"), button = make("button", "", "Send"), out = make("pre");
  field.value = JSON.stringify(example, null, 1);
  field.rows = field.value.split("\n").length;
  field.spellcheck = false;
  field.setAttribute("aria-label", `Body for ${path}`);
  out.setAttribute("role", "status");
  out.hidden = true;
  button.addEventListener("click", async () => {
    try {
      const response = await fetch(path.slice(1), { method: "POST", headers: { "Content-Type": "application/json" }, body: field.value });
      out.textContent = `${response.status}\n${JSON.stringify(await response.json(), null, 1)}`;
    } catch (error) {
      out.textContent = String(error);
    }
    out.hidden = false;
  });
  return [make("h3", "", "Try it"), field, button, out];
}

function endpoint(path, method, described) {
  const body = described.requestBody.content["application/json"].schema;
  const answers = Object.entries(described.responses).map(([code, { description, content }]) =>
    make("tr", "", make("td", "", code), make("td", "", code === "200" ? nameOf(content["application/json"].schema) : description)));
  return make("article", "", make("h2", "", `${method.toUpperCase()} ${path}`), make("p", "", described.summary),
    ...tables(body), make("h3", "", "Answers"), make("div", "scroll", make("table", "", make("tbody", "", ...answers))),
    ...tables(described.responses["200"].content["application/json"].schema), ...tryOut(path, resolve(body).examples[0]));
}

fetch("openapi.json").then((response) => response.json()).then((description) => {
  schemas = description.components.schemas;
  document.getElementById("about").textContent = description.info.description;
  document.getElementById("endpoints").append(...Object.entries(description.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, described]) => endpoint(path, method, described))));
  document.documentElement.dataset.ready = "1";
}).catch((error) => {
  const trouble = document.getElementById("trouble");
  trouble.textContent = String(error);
  trouble.hidden = false;
});
