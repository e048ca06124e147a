/** The logo, as in the icon of the page. */
export function Mark() {
  return (
    <svg class="mark" viewBox="0 0 32 32" aria-hidden="true">
      <rect width="32" height="32" rx="7" fill="#3451d1" />
      <rect x="6" y="8" width="20" height="4" rx="2" fill="#fff" />
      <rect x="6" y="14.5" width="14" height="4" rx="2" fill="#fff" fill-opacity=".75" />
      <rect x="6" y="21" width="8" height="4" rx="2" fill="#fff" fill-opacity=".5" />
      <circle cx="24" cy="23" r="3" fill="#6ee7a8" />
    </svg>
  );
}

/** Icons of 20 by 20, in the colour of the text. A text beside each says the same. */
const drawings = {
  overview: "M3 17V9m5 8V3m5 14v-6m5 6V6",
  tasks: "M7 5h10M7 10h10M7 15h10M3 5h.01M3 10h.01M3 15h.01",
  live: "M2 10h4l2.5-6 3 12L14 10h4",
  connections: "M10 3v4m0 6v4M4 17h12M7 7h6v6H7z",
  sources: "M4 5c0-1.4 2.7-2.5 6-2.5s6 1.1 6 2.5v10c0 1.4-2.7 2.5-6 2.5S4 16.4 4 15zm0 0c0 1.4 2.7 2.5 6 2.5s6-1.1 6-2.5M4 10c0 1.4 2.7 2.5 6 2.5s6-1.1 6-2.5",
  playground: "M6 4l10 6-10 6z",
  diagnostics: "M10 2.5l6.5 2.5v5c0 4-2.8 6.4-6.5 7.5-3.7-1.1-6.5-3.5-6.5-7.5V5zM7 10l2.2 2.2L13.2 8",
  about: "M10 17.5a7.5 7.5 0 1 0 0-15 7.5 7.5 0 0 0 0 15zM10 9.2v4.3M10 6.5h.01",
  queued: "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14zM10 6v4l2.5 2",
  running: "M7 4.5l8.5 5.5L7 15.5z",
  completed: "M4 10.5l4 4 8-9",
  failed: "M5 5l10 10M15 5L5 15",
  canceled: "M4 10h12",
  unknown: "M7 7.5a3 3 0 1 1 3.8 2.9c-.6.2-.8.6-.8 1.2v.6M10 15.5h.01",
  deleted: "M4 6h12M8 6V4h4v2m-6.5 0l.8 10.5h7.4L14.5 6",
  pause: "M7 4v12M13 4v12",
  resume: "M7 4.5l8.5 5.5L7 15.5z",
  warning: "M10 3l8 14H2zM10 8.5v4M10 14.8h.01",
  ok: "M10 17.5a7.5 7.5 0 1 0 0-15 7.5 7.5 0 0 0 0 15zM6.8 10.2l2.2 2.2 4.2-4.6",
  bad: "M10 17.5a7.5 7.5 0 1 0 0-15 7.5 7.5 0 0 0 0 15zM7.5 7.5l5 5m0-5l-5 5",
  menu: "M3 6h14M3 10h14M3 14h14",
  search: "M9 15A6 6 0 1 0 9 3a6 6 0 0 0 0 12zM13.5 13.5L17 17",
  copy: "M7 7h9v9H7zM4 13V4h9",
  download: "M10 3v9m-4-3.5l4 4 4-4M4 17h12",
  external: "M11 4h5v5M16 4l-7 7M13 12v4H4V7h4",
  up: "M10 16V4m-5 5l5-5 5 5",
  down: "M10 4v12m-5-5l5 5 5-5",
  away: "M3 3l14 14M5 9a8 8 0 0 1 3-1.9M12.5 7.2A8 8 0 0 1 15 9M8 12.5a4 4 0 0 1 3.5-.4M10 16h.01",
} as const;

export type IconName = keyof typeof drawings;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true" focusable="false">
      <path d={drawings[name]} />
    </svg>
  );
}
