// One image that can be looked at closely: wheel-free, by keys, buttons and dragging.

const SMALL_PX = 64;

export class Zoom {
  constructor(frame, image) {
    this.frame = frame;
    this.image = image;
    this.scale = 1;
    image.addEventListener("load", () => this.reset());
    frame.addEventListener("pointerdown", (event) => this.grab(event));
    frame.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, () => (this.from = null));
  }

  // Tiny images keep their pixels: a digit of 8 × 8 is a digit, not a cloud.
  reset() {
    const { naturalWidth: width, naturalHeight: height } = this.image;
    if (!width) return;
    const isTiny = Math.max(width, height) <= SMALL_PX;
    this.image.classList.toggle("pixels", isTiny);
    const room = Math.min(this.roomWidth() / width, this.roomHeight() / height);
    const fit = isTiny ? Math.max(1, Math.floor(Math.min(room, 320 / Math.max(width, height)))) : Math.min(room, 1);
    this.base = [width * fit, height * fit];
    this.scale = 1;
    this.draw();
  }

  roomWidth() {
    const { paddingLeft, paddingRight } = getComputedStyle(this.frame);
    return this.frame.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
  }

  // On a narrow screen the choices must stay in sight below the image.
  roomHeight() {
    const share = window.innerWidth < 640 ? 0.32 : 0.62;
    return Math.max(180, Math.min(window.innerHeight * share, 900));
  }

  by(factor) {
    if (!this.base) return;
    this.scale = Math.min(16, Math.max(0.5, this.scale * factor));
    this.draw();
  }

  draw() {
    this.image.style.width = `${this.base[0] * this.scale}px`;
    this.image.style.height = `${this.base[1] * this.scale}px`;
    this.frame.classList.toggle("zoomed", this.scale > 1);
  }

  grab(event) {
    if (this.scale <= 1 || event.button !== 0) return;
    event.preventDefault();
    this.frame.setPointerCapture(event.pointerId);
    this.from = [event.clientX + this.frame.scrollLeft, event.clientY + this.frame.scrollTop];
  }

  drag(event) {
    if (!this.from) return;
    this.frame.scrollTo(this.from[0] - event.clientX, this.from[1] - event.clientY);
  }
}
