/**
 * Classes of this module for callers of both kinds: `new Socket()`, `class X extends Socket` and plain calls,
 * and the functions of ES5, which call `Socket.call(this)` on an object that is there already.
 *
 * Owns how such an object becomes one of ours: private members are put on whatever the lowest constructor
 * returns, so that one returns the object.
 */

/** Of a `new.target`: the object to make a socket or a server of. */
const OBJECT = Symbol('object')

type Constructor = new (...args: never[]) => object

/** `Parent`, one of Node's constructors that can be called as functions, as the parent of such a class. */
export function inPlace<Parent extends Constructor>(Parent: Parent): Parent {
  const call = Parent as unknown as (this: object, ...args: unknown[]) => void
  const parent = function (this: object, ...args: unknown[]): object {
    const object = (new.target as unknown as { [OBJECT]?: object })[OBJECT] ?? this
    call.apply(object, args)
    return object
  }
  Object.setPrototypeOf(parent, Parent)
  parent.prototype = Parent.prototype as object
  return parent as unknown as Parent
}

/** Whether `target`, a `new.target`, stands for an object that is there already. */
export const isInPlace = (target: object): boolean => OBJECT in target

/**
 * The class as a function that can be called in all these ways, as Node's can.
 *
 * @param Node the class of node:net that it stands for: what Node itself has made, as the sockets of `http`
 *   are, are instances of it, too
 */
export function callable(Class: Constructor, name: string, Node: Constructor): unknown {
  const { [name]: call } = {
    // Named by its key, for stack traces.
    [name]: function (this: unknown, ...args: unknown[]): object {
      if (new.target !== undefined) return Reflect.construct(Class, args, new.target) as object
      if (!(this instanceof call)) return Reflect.construct(Class, args, call) as object
      const target = function (): void { /* Only for what it carries. */ }
      target.prototype = Object.getPrototypeOf(this) as object
      Object.defineProperty(target, OBJECT, { value: this })
      return Reflect.construct(Class, args, target) as object
    },
  } as unknown as Record<string, new (...args: unknown[]) => object>
  Object.setPrototypeOf(call, Class)
  call.prototype = Class.prototype as object
  Object.defineProperty(call, Symbol.hasInstance, {
    value(this: unknown, value: unknown): boolean {
      const isOne = Function.prototype[Symbol.hasInstance].call(this as Constructor, value)
      // Of the class only: what extends it says what its own are.
      return isOne || (this === call && value instanceof Node)
    },
  })
  Object.defineProperty(Class.prototype, 'constructor', { value: call, writable: true, configurable: true })
  return call
}
