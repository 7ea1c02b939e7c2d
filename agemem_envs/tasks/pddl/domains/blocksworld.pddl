; One arm builds towers of blocks on a table that has room for all of them.
(define (domain blocksworld)
  (:requirements :strips)
  (:predicates
    (on-table ?b)
    (on ?b ?under)
    (clear ?b)
    (holding ?b)
    (arm-empty)
  )

  (:action pickup
    :parameters (?b)
    :precondition (and (arm-empty) (clear ?b) (on-table ?b))
    :effect (and (not (arm-empty)) (not (clear ?b)) (not (on-table ?b)) (holding ?b))
  )

  (:action putdown
    :parameters (?b)
    :precondition (holding ?b)
    :effect (and (not (holding ?b)) (arm-empty) (clear ?b) (on-table ?b))
  )

  (:action stack
    :parameters (?b ?under)
    :precondition (and (holding ?b) (clear ?under))
    :effect (and (not (holding ?b)) (not (clear ?under)) (arm-empty) (clear ?b) (on ?b ?under))
  )

  (:action unstack
    :parameters (?b ?under)
    :precondition (and (arm-empty) (clear ?b) (on ?b ?under))
    :effect (and (not (arm-empty)) (not (clear ?b)) (not (on ?b ?under)) (clear ?under) (holding ?b))
  )
)
