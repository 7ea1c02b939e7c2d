; A barman with two hands serves ingredients from dispensers and cocktails from a shaker.
; The shaker's level counts the portions in it; a cocktail is shaken from two.
(define (domain barman)
  (:requirements :strips :typing)
  (:types
    hand level beverage dispenser container - object
    ingredient cocktail - beverage
    shot shaker - container
  )
  (:predicates
    (ontable ?c - container)
    (holding ?h - hand ?c - container)
    (handempty ?h - hand)
    (empty ?c - container)
    (clean ?c - container)
    (contains ?c - container ?b - beverage)
    (used ?c - container ?b - beverage)
    (dispenses ?d - dispenser ?i - ingredient)
    (shaker-level ?s - shaker ?l - level)
    (shaker-empty-level ?s - shaker ?l - level)
    (next ?lower - level ?upper - level)
    (unshaked ?s - shaker)
    (shaked ?s - shaker)
    (cocktail-part1 ?c - cocktail ?i - ingredient)
    (cocktail-part2 ?c - cocktail ?i - ingredient)
  )

  (:action grasp
    :parameters (?h - hand ?c - container)
    :precondition (and (handempty ?h) (ontable ?c))
    :effect (and (not (handempty ?h)) (not (ontable ?c)) (holding ?h ?c))
  )

  (:action leave
    :parameters (?h - hand ?c - container)
    :precondition (holding ?h ?c)
    :effect (and (not (holding ?h ?c)) (handempty ?h) (ontable ?c))
  )

  (:action fill-shot
    :parameters (?s - shot ?i - ingredient ?h1 - hand ?h2 - hand ?d - dispenser)
    :precondition (and (holding ?h1 ?s) (handempty ?h2) (dispenses ?d ?i) (empty ?s) (clean ?s))
    :effect (and (not (empty ?s)) (not (clean ?s)) (contains ?s ?i) (used ?s ?i))
  )

  (:action refill-shot
    :parameters (?s - shot ?i - ingredient ?h1 - hand ?h2 - hand ?d - dispenser)
    :precondition (and (holding ?h1 ?s) (handempty ?h2) (dispenses ?d ?i) (empty ?s) (used ?s ?i))
    :effect (and (not (empty ?s)) (contains ?s ?i))
  )

  (:action empty-shot
    :parameters (?h - hand ?s - shot ?b - beverage)
    :precondition (and (holding ?h ?s) (contains ?s ?b))
    :effect (and (not (contains ?s ?b)) (empty ?s))
  )

  (:action clean-shot
    :parameters (?s - shot ?b - beverage ?h1 - hand ?h2 - hand)
    :precondition (and (holding ?h1 ?s) (handempty ?h2) (empty ?s) (used ?s ?b))
    :effect (and (not (used ?s ?b)) (clean ?s))
  )

  (:action pour-shot-to-clean-shaker
    :parameters (?s - shot ?i - ingredient ?d - shaker ?h - hand ?l - level ?l1 - level)
    :precondition (and (holding ?h ?s) (contains ?s ?i) (empty ?d) (clean ?d)
      (shaker-level ?d ?l) (next ?l ?l1))
    :effect (and (not (contains ?s ?i)) (empty ?s) (not (empty ?d)) (not (clean ?d))
      (contains ?d ?i) (unshaked ?d) (not (shaker-level ?d ?l)) (shaker-level ?d ?l1))
  )

  (:action pour-shot-to-used-shaker
    :parameters (?s - shot ?i - ingredient ?d - shaker ?h - hand ?l - level ?l1 - level)
    :precondition (and (holding ?h ?s) (contains ?s ?i) (unshaked ?d)
      (shaker-level ?d ?l) (next ?l ?l1))
    :effect (and (not (contains ?s ?i)) (empty ?s) (contains ?d ?i)
      (not (shaker-level ?d ?l)) (shaker-level ?d ?l1))
  )

  (:action empty-shaker
    :parameters (?h - hand ?s - shaker ?b - cocktail ?l - level ?l1 - level)
    :precondition (and (holding ?h ?s) (contains ?s ?b) (shaked ?s)
      (shaker-level ?s ?l) (shaker-empty-level ?s ?l1))
    :effect (and (not (shaked ?s)) (not (contains ?s ?b)) (empty ?s)
      (not (shaker-level ?s ?l)) (shaker-level ?s ?l1))
  )

  (:action clean-shaker
    :parameters (?h1 - hand ?h2 - hand ?s - shaker)
    :precondition (and (holding ?h1 ?s) (handempty ?h2) (empty ?s))
    :effect (clean ?s)
  )

  (:action shake
    :parameters (?b - cocktail ?i1 - ingredient ?i2 - ingredient ?s - shaker ?h1 - hand ?h2 - hand)
    :precondition (and (holding ?h1 ?s) (handempty ?h2) (unshaked ?s) (contains ?s ?i1)
      (contains ?s ?i2) (cocktail-part1 ?b ?i1) (cocktail-part2 ?b ?i2))
    :effect (and (not (unshaked ?s)) (not (contains ?s ?i1)) (not (contains ?s ?i2))
      (shaked ?s) (contains ?s ?b))
  )

  (:action pour-shaker-to-shot
    :parameters (?b - beverage ?d - shot ?h - hand ?s - shaker ?l - level ?l1 - level)
    :precondition (and (holding ?h ?s) (shaked ?s) (contains ?s ?b) (empty ?d) (clean ?d)
      (shaker-level ?s ?l) (next ?l1 ?l))
    :effect (and (not (empty ?d)) (not (clean ?d)) (contains ?d ?b)
      (not (shaker-level ?s ?l)) (shaker-level ?s ?l1))
  )
)
