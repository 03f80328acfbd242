/** Small helpers over the DOM. Text only ever enters through `textContent` or attributes. */

/** Makes an element. `text` is set as text, never as markup. */
export function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className = "",
  text = "",
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  if (className !== "") node.className = className;
  if (text !== "") node.textContent = text;
  return node;
}

/** The element of index.html with this id. */
export function byId(id: string): HTMLElement {
  const node = document.getElementById(id);
  if (node === null) throw new Error(`index.html has no #${id}`);
  return node;
}

/** Sets text only when it differs, so that selections and screen readers are left in peace. */
export function say(node: Element, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(node: Element, name: string, value: string): void {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

export function show(node: HTMLElement, visible: boolean): void {
  if (node.hidden === visible) node.hidden = !visible;
}

export interface View {
  readonly root: Element;
}

/** Keeps a list of elements in step with a list of items: same key, same element. */
export class List<T, V extends View> {
  readonly #parent: Element;
  readonly #keyOf: (item: T) => string;
  readonly #create: () => V;
  readonly #update: (view: V, item: T) => void;
  #views = new Map<string, V>();

  constructor(
    parent: Element,
    keyOf: (item: T) => string,
    create: () => V,
    update: (view: V, item: T) => void,
  ) {
    this.#parent = parent;
    this.#keyOf = keyOf;
    this.#create = create;
    this.#update = update;
  }

  /** Shows exactly these items, in this order. */
  show(items: readonly T[]): void {
    const views = new Map<string, V>();
    for (const item of items) {
      const key = this.#keyOf(item);
      if (views.has(key)) continue;
      const view = this.#views.get(key) ?? this.#create();
      this.#update(view, item);
      views.set(key, view);
    }
    for (const [key, view] of this.#views) if (!views.has(key)) view.root.remove();
    let place = this.#parent.firstElementChild;
    for (const { root } of views.values()) {
      if (root === place) place = place.nextElementSibling;
      else this.#parent.insertBefore(root, place);
    }
    this.#views = views;
  }
}

/** The button of this id: one that shows the rest of a list; its label says how much there is. */
export function folded(id: string, few: number, redraw: () => void): (total: number) => number {
  const button = byId(id);
  let open = false;
  button.addEventListener("click", () => {
    open = !open;
    redraw();
  });
  return (total) => {
    show(button, total > few);
    say(button, open ? "Show fewer" : `Show all ${total}`);
    setAttribute(button, "aria-expanded", String(open));
    return open ? total : few;
  };
}

const shapes = {
  check: "M3.5 8.5l3 3 6-7",
  cross: "M4 4l8 8M12 4l-8 8",
  question: "M5.6 6a2.4 2.4 0 1 1 3.6 2.1c-.8.5-1.2.9-1.2 1.7M8 12.4v.2",
  dot: "M8 5.2a2.8 2.8 0 1 0 0 5.6a2.8 2.8 0 1 0 0-5.6z",
  up: "M8 13V3.5M4 7.2L8 3.2l4 4",
  stop: "M5.5 2.5h5l3 3v5l-3 3h-5l-3-3v-5zM8 5v3.6M8 11v.1",
  ring: "M8 3.6a4.4 4.4 0 1 0 0 8.8a4.4 4.4 0 1 0 0-8.8z",
  power: "M8 2.5v5M4.9 4.6a4.8 4.8 0 1 0 6.2 0",
  warning: "M8 2.4L14.2 13H1.8zM8 6.3v3M8 11.1v.1",
  cut: "M2.5 8h3M10.5 8h3M6.5 5.5l3 5",
} as const;
export type IconName = keyof typeof shapes;

const svgSpace = "http://www.w3.org/2000/svg";

export function svg<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string>>,
): SVGElementTagNameMap[K] {
  const node = document.createElementNS(svgSpace, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/** A 16-unit line icon; decoration beside words, so hidden from screen readers. */
export function icon(name: IconName): SVGSVGElement {
  const node = svg("svg", { viewBox: "0 0 16 16", class: "icon", "aria-hidden": "true" });
  node.append(svg("path", { d: shapes[name] }));
  return node;
}

/** Turns an icon into another. */
export function reshape(node: SVGSVGElement, name: IconName): void {
  const path = node.firstElementChild;
  if (path !== null) setAttribute(path, "d", shapes[name]);
}
