; A robot with two arms carries balls between rooms. Every room is next to every other.
(define (domain gripper)
  (:requirements :strips)
  (:predicates
    (room ?r) (ball ?b) (gripper ?g)
    (at-robby ?r)
    (at ?b ?r)
    (free ?g)
    (carry ?b ?g)
  )

  (:action move
    :parameters (?from ?to)
    :precondition (and (room ?from) (room ?to) (at-robby ?from))
    :effect (and (not (at-robby ?from)) (at-robby ?to))
  )

  (:action pick
    :parameters (?b ?r ?g)
    :precondition (and (ball ?b) (room ?r) (gripper ?g) (at-robby ?r) (at ?b ?r) (free ?g))
    :effect (and (not (at ?b ?r)) (not (free ?g)) (carry ?b ?g))
  )

  (:action drop
    :parameters (?b ?r ?g)
    :precondition (and (ball ?b) (room ?r) (gripper ?g) (at-robby ?r) (carry ?b ?g))
    :effect (and (not (carry ?b ?g)) (free ?g) (at ?b ?r))
  )
)
