/** The element of that id. */
export const $ = (id) => document.getElementById(id);

/** A new element with properties (`class` and `data-…` too) and children. */
export function el(tag, { class: className, ...rest } = {}, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  for (const [name, value] of Object.entries(rest)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** An icon of the sprite in index.html. */
export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  svg.append(use);
  return svg;
}

export function setIcon(within, name) {
  within.querySelector('use').setAttribute('href', `#i-${name}`);
}

let clearing;

/** Tells whoever listens by screen reader; `urgent` interrupts. */
export function say(text, { urgent = false } = {}) {
  const region = $(urgent ? 'alerted' : 'said');
  // Several things said in a row are read in a row.
  region.append(el('span', {}, `${text} `));
  clearTimeout(clearing);
  clearing = setTimeout(() => {
    $('said').replaceChildren();
    $('alerted').replaceChildren();
  }, 5_000);
}

/** Copies to the clipboard; where the page may not, selects the text in `field` for the user to copy. */
export async function copy(text, field) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    field?.select();
    return Boolean(field) && document.execCommand('copy');
  }
}
