//go:build mutant_lent

package switchboard

// caught by: .:TestADeviceDoesNotStayInARoomWhoseMembershipEndedMeanwhile

const mutantLent = true // who follows is not asked again whether the right is still there
