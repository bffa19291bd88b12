// How a film is written: its title as people say it, in italics, then the year.
import { el } from "./dom.js";

const ARTICLES = "The|A|An|La|Le|Les|L'|Il|Lo|El|Los|Las|Das|Der|Die|Den|Det|Un|Une|Una";
const MOVED = new RegExp(`^(.+?), (${ARTICLES})(?= \\(|$)`);

/** "Matrix, The (1999)" as "The Matrix"; a year that the catalogue repeats in the title is dropped. */
export function spoken(title, year) {
  const bare = year ? title.replace(new RegExp(`\\s*\\(${year}\\)\\s*$`), "") : title;
  return bare.replace(MOVED, (_, name, article) => (article.endsWith("'") ? article + name : `${article} ${name}`));
}

/** A film's title and year, as nodes for a line of text. */
export function titled(film, { year = true } = {}) {
  const made = film.year ?? yearIn(film.title);
  const name = el("cite", { class: "film", text: spoken(film.title, made) });
  if (!year || !made) return name;
  return el("span", { class: "titled" }, name, " ", el("span", { class: "year", text: String(made) }));
}

/** Films named inside an answer come without a year of their own: the title's then stands for it. */
function yearIn(title) {
  return /\((\d{4})\)\s*$/.exec(title)?.[1] ?? null;
}

/** Two genres at most, in one short line. */
export const genreLine = (film) => (film.genres ?? []).slice(0, 2).join(", ");
