declare module "event-source-polyfill" {
  export class EventSourcePolyfill extends EventTarget {
    constructor(url: string, options?: { headers?: Record<string, string> });
    close(): void;
  }
}

declare module "eventsource2" {
  export default class EventSource extends EventTarget {
    constructor(url: string, options?: { headers?: Record<string, string> });
    close(): void;
  }
}

declare module "gifenc" {
  export function GIFEncoder(): {
    writeFrame(pixels: Uint8Array, width: number, height: number, options: {
      palette: number[][]; delay: number; transparent: boolean; transparentIndex: number; dispose: number;
    }): void;
    finish(): void;
    bytes(): Uint8Array;
  };
  export function quantize(rgba: Uint8Array, colors: number): number[][];
  export function applyPalette(rgba: Uint8Array, palette: number[][]): Uint8Array;
}
