// Small makers of elements, for every page.

export function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A button that does `onClick` and never submits a form. */
export function button(label, className, onClick) {
  const made = element("button", `button ${className}`.trim(), label);
  made.type = "button";
  if (onClick) made.addEventListener("click", onClick);
  return made;
}

let count = 0;

/** Join a control and its label; both are returned for their places. */
export function labelled(text, control, className = "") {
  const label = element("label", className, text);
  count += 1;
  control.id ||= `field-${count}`;
  label.htmlFor = control.id;
  return label;
}

/** Have `control` described by `line`, which may be empty. */
export function describe(control, line) {
  count += 1;
  line.id ||= `field-${count}`;
  control.setAttribute("aria-describedby", line.id);
}
