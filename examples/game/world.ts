/**
 * The world: where players are, how they move, and which areas they are in. Knows nothing of the VM, nor of bytes.
 *
 * The world is a square of areas. Positions are points: whole ones are told to players, what is left over is kept, so
 * that nobody drifts. Each area collects what has changed in it since it was last told of: `step` says which have.
 *
 * A player hears the four areas that are nearest to it, a block of two by two: everything within 0.4 areas around it is
 * in there, wherever it is. The block changes only when the player has gone a tenth of an area past the middle, so that
 * walking along a border changes nothing.
 */

/** Points along the side of an area. */
export const AREA_POINTS = 4096
/** An area's number, and a position, have to fit into what is sent: 16 * 4,096 points are two bytes. */
export const AREAS_MAX = 16
/** Points per second at full speed. */
const SPEED = 1600
/** How far a component of a direction goes; what is longer than this, as a whole, is full speed. */
const FULL = 127
/** The longest step that is told as a step: it has a byte for each direction. */
const STEP_MAX = 127
/** How far from the middle between two blocks a player keeps the one that it has, in areas. */
const RELUCTANCE = 0.1
/** After a stall of the server nobody jumps further than this, in ticks. */
const TICKS_MAX = 10

export class Entity {
  /** Exact, in points. */
  x: number
  y: number
  /** What was told: whole points, and the step to there. Not a number before anything was told. */
  shownX = NaN
  shownY = NaN
  stepX = 0
  stepY = 0
  /** Points per second. */
  speedX = 0
  speedY = 0
  /** The block of areas that it hears, by its corner. */
  viewColumn = 0
  viewRow = 0

  constructor(readonly number: number, x: number, y: number, public area: Area) {
    this.x = x
    this.y = y
  }

  /** Others have been told where it is. */
  get isShown(): boolean {
    return !Number.isNaN(this.shownX)
  }
}

/** What is told of an area: who went a step, who is now at a place (or came from another area), who has left. */
export interface Changes {
  readonly column: number
  readonly row: number
  readonly moved: readonly Entity[]
  readonly placed: readonly Entity[]
  readonly left: readonly number[]
}

export class Area implements Changes {
  readonly members = new Set<Entity>()
  moved: Entity[] = []
  placed: Entity[] = []
  left: number[] = []

  constructor(readonly column: number, readonly row: number) {}

  get hasChanged(): boolean {
    return this.moved.length > 0 || this.placed.length > 0 || this.left.length > 0
  }

  /** All who are there, as changes to an empty area. */
  get everything(): Changes {
    return {
      column: this.column, row: this.row, moved: [], left: [],
      placed: [...this.members].filter((entity) => entity.isShown),
    }
  }

  forget(): void {
    this.moved = []
    this.placed = []
    this.left = []
  }
}

export interface WorldOptions {
  /** Areas along a side, from 2 to 16. */
  readonly areas: number
  /** Steps per second. */
  readonly rate: number
  /** How far from the middle of the world, in points, players arrive. */
  readonly spread: number
  /** From 0 to below 1. */
  readonly random?: () => number
}

export class World {
  readonly #areas: Area[]
  readonly #entities = new Map<number, Entity>()
  readonly #side: number
  readonly #points: number
  readonly #seconds: number
  readonly #spread: number
  readonly #random: () => number

  constructor({ areas, rate, spread, random = Math.random }: WorldOptions) {
    this.#side = areas
    this.#points = areas * AREA_POINTS
    this.#seconds = 1 / rate
    this.#spread = spread
    this.#random = random
    this.#areas = Array.from({ length: areas * areas }, (_all, i) => new Area(i % areas, Math.floor(i / areas)))
  }

  get size(): number {
    return this.#entities.size
  }

  /** @returns undefined outside of the world */
  area(column: number, row: number): Area | undefined {
    return column < this.#side ? this.#areas[row * this.#side + column] : undefined
  }

  /** Somebody arrives. */
  add(number: number): Entity {
    const place = (): number => this.#within(this.#points / 2 + (2 * this.#random() - 1) * this.#spread)
    const [x, y] = [place(), place()]
    const entity = new Entity(number, x, y, this.#at(x, y))
    entity.area.members.add(entity)
    entity.viewColumn = this.#corner(x)
    entity.viewRow = this.#corner(y)
    this.#entities.set(number, entity)
    return entity
  }

  remove(number: number): void {
    const entity = this.#entities.get(number)
    if (entity === undefined) return
    this.#entities.delete(number)
    this.#leave(entity)
  }

  /** From now on it goes in this direction: components from -127 to 127. Nobody is faster than at full speed. */
  steer(number: number, x: number, y: number): void {
    const entity = this.#entities.get(number)
    if (entity === undefined) return
    const scale = SPEED / Math.max(FULL, Math.hypot(x, y))
    entity.speedX = x * scale
    entity.speedY = y * scale
  }

  /**
   * Time goes on by some ticks.
   *
   * @param turned is called for each player that hears other areas from now on
   * @returns the areas in which something has changed; the caller tells of it, and has them forget
   */
  step(ticks: number, turned: (entity: Entity) => void): Area[] {
    const seconds = Math.min(ticks, TICKS_MAX) * this.#seconds
    for (const entity of this.#entities.values()) {
      if (entity.isShown && entity.speedX === 0 && entity.speedY === 0) continue
      entity.x = this.#within(entity.x + entity.speedX * seconds)
      entity.y = this.#within(entity.y + entity.speedY * seconds)
      this.#show(entity)
      if (this.#looks(entity)) turned(entity)
    }
    return this.#areas.filter((area) => area.hasChanged)
  }

  /** Notes what others are to be told of where it is. */
  #show(entity: Entity): void {
    const [x, y] = [Math.floor(entity.x), Math.floor(entity.y)]
    entity.stepX = x - entity.shownX
    entity.stepY = y - entity.shownY
    if (entity.stepX === 0 && entity.stepY === 0) return
    const isStep = Math.abs(entity.stepX) <= STEP_MAX && Math.abs(entity.stepY) <= STEP_MAX
    const area = this.#at(x, y)
    if (area !== entity.area) {
      this.#leave(entity)
      entity.area = area
      area.members.add(entity)
      area.placed.push(entity)
    } else if (isStep) {
      area.moved.push(entity)
    } else {
      area.placed.push(entity)
    }
    entity.shownX = x
    entity.shownY = y
  }

  #leave(entity: Entity): void {
    entity.area.members.delete(entity)
    if (entity.isShown) entity.area.left.push(entity.number)
  }

  /** @returns whether it hears other areas than before */
  #looks(entity: Entity): boolean {
    const column = this.#corner(entity.x, entity.viewColumn)
    const row = this.#corner(entity.y, entity.viewRow)
    if (column === entity.viewColumn && row === entity.viewRow) return false
    entity.viewColumn = column
    entity.viewRow = row
    return true
  }

  /** Of a block of two areas, in one direction. */
  #corner(points: number, before?: number): number {
    const place = points / AREA_POINTS - 0.5
    const isNear = before !== undefined && place > before - RELUCTANCE && place < before + 1 + RELUCTANCE
    return isNear ? before : Math.min(this.#side - 2, Math.max(0, Math.floor(place)))
  }

  #within(points: number): number {
    return Math.min(this.#points - 1, Math.max(0, points))
  }

  #at(x: number, y: number): Area {
    return this.#areas[Math.floor(y / AREA_POINTS) * this.#side + Math.floor(x / AREA_POINTS)]
  }
}
