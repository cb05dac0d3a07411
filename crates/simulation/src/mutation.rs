//! Choosing a deliberate fault by name.

/// Chooses the fault of this thread, or none.
///
/// # Errors
/// A sentence where there is no such fault, or where this build has none.
pub fn choose(name: Option<&str>) -> Result<(), String> {
    let Some(name) = name else { return Ok(()) };
    #[cfg(feature = "mutants")]
    {
        let found = topology::mutant::ALL.into_iter().find(|mutant| format!("{mutant:?}") == name);
        let Some(mutant) = found else {
            return Err(format!("no mutant {name}; there are {:?}", topology::mutant::ALL));
        };
        topology::mutant::set(Some(mutant));
        Ok(())
    }
    #[cfg(not(feature = "mutants"))]
    Err(format!("mutant {name} is not in this build; build with --features mutants"))
}
